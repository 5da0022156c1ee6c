"""Whether CUDA or ROCm allows a window of torch's profiler now.

Before CUDA is initialized a window would record only the CPU. And the first session decides for the
life of the process whether Kineto can record kernels: later windows, and the program's own
profiles, would have none.

While a graph is captured no window begins or ends (see `graph_captures`).

Graphs that were captured before the first session crash or hang in CUDA older than 12.4 (pytorch
#75504, #107744, #135003).
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

OLDEST_WITH_GRAPHS = (12, 4)
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
HIDDEN = ("", "-1", "NoDevFiles")
GRAPHS_IN_OLD_CUDA = (
    "CUDA {} is older than 12.4, where programs with CUDA graphs crash or hang in torch's profiler;"
    " this program {} CUDA graphs"
)
CAPTURING = "a graph of device work is being captured"
NOT_INITIALIZED = (
    "CUDA is not initialized yet: after a window now, torch's profiler could not record kernels any"
    " more"
)


class CudaState:
    """The state of CUDA in this process that windows depend on."""

    def __init__(self, probe: "InstalledProbe", torch: Any) -> None:
        self.torch = torch
        self.version = getattr(torch.version, "cuda", None)
        self.built = bool(self.version or getattr(torch.version, "hip", None))
        self.captures = MODULES["graph_captures"].captures_of(probe)
        self.graphs_unknown = self.built and bool(torch.cuda.is_initialized())

    @property
    def is_capturing(self) -> bool:
        """Whether a graph is being captured."""
        return bool(self.captures.count)

    def refusal(self) -> "str | None":
        """Return why this process never gets a window, None if it may get one."""
        if self.version is None or not (self.graphs_unknown or self.captures.seen):
            return None
        numbers = str(self.version).split(".")[:2]
        version = tuple(int(number) for number in numbers if number.isdecimal())
        if not version or version >= OLDEST_WITH_GRAPHS:
            return None
        certainty = "captured" if self.captures.seen else "may have captured"
        return GRAPHS_IN_OLD_CUDA.format(self.version, certainty)

    def not_yet(self) -> "str | None":
        """Return why no window can begin or end at this moment, None if it can."""
        if self.is_capturing:
            return CAPTURING
        if self.built and not self.torch.cuda.is_initialized() and device_is_visible():
            return NOT_INITIALIZED
        return None


def device_is_visible() -> bool:
    """Return whether this process can use a device.

    It does not ask the driver or torch, which would initialize CUDA.
    """
    chosen = [os.environ[name] for name in VISIBLE if name in os.environ]
    if any(value in HIDDEN for value in chosen):
        return False
    return any(map(os.path.exists, DEVICES))
