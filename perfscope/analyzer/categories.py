"""The categories of the time budget: everything that the program knows of each, in one table.

The order is the order in which they are listed and drawn. A new category is one entry here.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Category:
    """One exclusive part of the time of a step, or of the whole span of a trace."""

    id: str
    label: str
    meaning: str
    resource: str
    """What limits the run where most of its time is of this category: an id of `bound_by`."""
    light: str
    dark: str
    """Its color on the light and the dark theme."""
    is_wait: bool = False
    """Whether the thread or the device waits; drawn with stripes, so that color is not the only
    sign.
    """
    recoverable: bool = False
    """Whether removing it is a gain: above its limit a run is not healthy."""
    delays_others: bool = False
    """Whether a rank that spends longer in it holds up the ranks that step together with it."""
    on_device: bool = False
    """Whether the device is busy; else it is idle, or there is none."""
    longer: str = ""
    """What a rank does that spends more time in it than its peers; {} is how much."""


DEVICE_COMPUTE: Final = "device-compute"
COMPUTE_OR_HOST: Final = "compute-or-host"
EXPOSED_COMMUNICATION: Final = "exposed-communication"
PEER_WAIT: Final = "peer-wait"
EXPOSED_COPY: Final = "exposed-copy"
INPUT_WAIT: Final = "input-wait"
SYNC_WAIT: Final = "sync-wait"
HOST_BOUND: Final = "host-bound"
CHECKPOINT: Final = "checkpoint"
PROFILER_OVERHEAD: Final = "profiler-overhead"
OTHER_IDLE: Final = "other-idle"

CATEGORIES: Final = (
    Category(
        DEVICE_COMPUTE,
        "compute",
        "kernels run on the device, or operators compute on the CPU",
        "compute",
        light="#1c8458",
        dark="#3fb27f",
        on_device=True,
        longer="it computes {} longer",
    ),
    Category(
        COMPUTE_OR_HOST,
        "compute or host",
        "forward, backward, optimizer and the code between them; not divided further at this"
        " instrumentation level",
        "compute",
        light="#1c8458",
        dark="#3fb27f",
        longer="its forward, backward and optimizer take {} longer",
    ),
    Category(
        EXPOSED_COMMUNICATION,
        "communication",
        "collectives that do not overlap with computation",
        "communication",
        light="#5e2391",
        dark="#8b4fc6",
        recoverable=True,
        on_device=True,
    ),
    Category(
        PEER_WAIT,
        "waiting for peers",
        "the rank waits in a collective for a slower rank",
        "communication",
        light="#c9adf7",
        dark="#dccbfd",
        is_wait=True,
        recoverable=True,
        on_device=True,
    ),
    Category(
        EXPOSED_COPY,
        "copies",
        "copies between host and device that do not overlap with computation",
        "input",
        light="#d14a8b",
        dark="#ec79b2",
        recoverable=True,
        delays_others=True,
        on_device=True,
        longer="its copies take {} longer",
    ),
    Category(
        INPUT_WAIT,
        "input wait",
        "the training loop waits for its next batch",
        "input",
        light="#ee8f00",
        dark="#ffa02e",
        is_wait=True,
        recoverable=True,
        delays_others=True,
        longer="it waits {} longer for input",
    ),
    Category(
        SYNC_WAIT,
        "synchronization",
        "the host waits for the device",
        "host",
        light="#3a93b8",
        dark="#57a9cc",
        is_wait=True,
        recoverable=True,
        delays_others=True,
        longer="it waits {} longer in synchronizing calls",
    ),
    Category(
        HOST_BOUND,
        "host",
        "the device or the loop waits for Python: garbage collection, the GIL, launching operators",
        "host",
        light="#1c56d6",
        dark="#4a80f5",
        recoverable=True,
        delays_others=True,
        longer="its host launches work {} later",
    ),
    Category(
        CHECKPOINT,
        "checkpoint",
        "the training loop writes a checkpoint",
        "checkpoint",
        light="#7d4b1f",
        dark="#a8703c",
        recoverable=True,
        delays_others=True,
        longer="it writes checkpoints for {}",
    ),
    Category(
        PROFILER_OVERHEAD,
        "profiler overhead",
        "what the profiler that recorded this trace cost; it does not occur without a profiler",
        "unknown",
        light="#8c9199",
        dark="#767d8a",
    ),
    Category(
        OTHER_IDLE,
        "idle",
        "the thread sleeps, or the device is idle, for a reason the recording does not show",
        "unknown",
        light="#c9cdd3",
        dark="#4d5561",
        is_wait=True,
        longer="it is idle {} longer",
    ),
)

CATEGORY: Final = {category.id: category for category in CATEGORIES}
CATEGORY_IDS: Final = tuple(CATEGORY)

PRECEDENCE: Final = (
    CHECKPOINT,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    PEER_WAIT,
    EXPOSED_COPY,
    INPUT_WAIT,
    SYNC_WAIT,
    HOST_BOUND,
    PROFILER_OVERHEAD,
    COMPUTE_OR_HOST,
)
"""Where several happen at one instant, the first of these is what the instant counts as; the rest
is OTHER_IDLE.

Computation hides communication, and both hide copies; what the device does comes before what the
host does.
"""
