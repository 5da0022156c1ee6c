"""The palette: one colour, one meaning, on every screen; light and dark. Chosen to stay apart under colour blindness."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; `category` is keyed by the categories of the time budget the two halves of a fetch, and steps."""

    bg: str
    surface: str
    text: str
    muted: str
    line: str
    accent: str
    category: dict[str, str]


LIGHT = Palette(
    bg="#f5f6f8",
    surface="#ffffff",
    text="#14181f",
    muted="#5a6472",
    line="#e2e6eb",
    accent="#1f56c8",
    category={
        "device_compute": "#1c8458",
        "compute_or_host": "#1c8458",
        "exposed_communication": "#5e2391",
        "exposed_copy": "#d14a8b",
        "input_wait": "#ee8f00",
        "input_dataset": "#f7c277",
        "step_0": "#d5dae1",
        "step_1": "#e6e9ee",
        "input_collate": "#d4500c",
        "host_bound": "#1c56d6",
        "sync_wait": "#3a93b8",
        "checkpoint": "#7d4b1f",
        "peer_wait": "#c9adf7",
        "profiler_overhead": "#8c9199",
        "other_idle": "#c9cdd3",
    },
)

DARK = Palette(
    bg="#0d1015",
    surface="#161a21",
    text="#e9ecf1",
    muted="#98a3b2",
    line="#282e38",
    accent="#82a9ff",
    category={
        "device_compute": "#3fb27f",
        "compute_or_host": "#3fb27f",
        "exposed_communication": "#8b4fc6",
        "exposed_copy": "#ec79b2",
        "input_wait": "#ffa02e",
        "input_dataset": "#ffd591",
        "step_0": "#343b47",
        "step_1": "#262c36",
        "input_collate": "#e2571f",
        "host_bound": "#4a80f5",
        "sync_wait": "#57a9cc",
        "checkpoint": "#a8703c",
        "peer_wait": "#dccbfd",
        "profiler_overhead": "#767d8a",
        "other_idle": "#4d5561",
    },
)

LABELS = {
    "device_compute": "compute",
    "compute_or_host": "compute or host",
    "exposed_communication": "communication",
    "exposed_copy": "copies",
    "input_wait": "waiting for input",
    "host_bound": "host",
    "sync_wait": "synchronising",
    "checkpoint": "checkpoint",
    "peer_wait": "waiting for peers",
    "profiler_overhead": "the profiler itself",
    "other_idle": "idle",
}

MEANINGS = {
    "device_compute": "the device computes",
    "compute_or_host": "forward, backward, optimizer and the code between; on a CPU not told apart at this depth",
    "exposed_communication": "collectives that no computation hides",
    "exposed_copy": "copies that no computation hides",
    "input_wait": "the training loop waits for its next batch",
    "host_bound": "Python and the runtime hold the device up: garbage collection, the interpreter's lock, dispatch",
    "sync_wait": "the host waits for the device",
    "checkpoint": "writing checkpoints",
    "peer_wait": "waiting for another rank",
    "profiler_overhead": "what recording the trace cost; without a profiler this time is not spent",
    "other_idle": "the loop's thread sleeps for another reason; of a device: idle for a reason that is not in the trace",
}
WAITS = ("input_wait", "sync_wait", "peer_wait", "other_idle")
UNDIVIDED = ("compute_or_host",)
"""Categories that hold two things which could not be told apart."""


def texture(category: str) -> str:
    """What is drawn over a category's colour, which is never the only sign: `wait` (stripes), `undivided` (dots) or nothing."""
    return "wait" if category in WAITS else "undivided" if category in UNDIVIDED else ""


VERDICTS = {
    "input-bound": "input_wait",
    "checkpoint-stall": "checkpoint",
    "nvlink-saturated": "exposed_communication",
    "network-saturated": "exposed_communication",
    "healthy": "device_compute",
    "unknown": "other_idle",
}
"""The colour a verdict is marked with: that of the time it costs; the findings of the host share one."""


def mark_of(verdict: str) -> str:
    """The category whose colour marks this verdict."""
    return VERDICTS.get(verdict, "host_bound")


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2, "relative luminance")."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink(fill: str) -> str:
    """Black or white, whichever reads better on this fill; the better one is always above 4.5 to 1."""
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, fill))
