"""The palette: one color has one meaning on every screen, on light and on dark.

The colors stay distinguishable under color blindness.
"""

from dataclasses import dataclass

from perfscope.analyzer.categories import (
    CATEGORIES,
    CATEGORY,
    CHECKPOINT,
    COMPUTE_OR_HOST,
    HOST_BOUND,
    OTHER_IDLE,
    PEER_WAIT,
    PROFILER_OVERHEAD,
)


@dataclass(frozen=True)
class Palette:
    """The colors of one theme.

    `scheme` is `light` or `dark`: what the browser draws scroll bars for. The keys of `category`
    are the categories of the time budget, the two halves of a fetch, the two shades of steps on the
    timeline, and the steps of the whole run.
    """

    scheme: str
    bg: str
    surface: str
    text: str
    muted: str
    line: str
    accent: str
    category: dict[str, str]


LIGHT = Palette(
    scheme="light",
    bg="#f5f6f8",
    surface="#ffffff",
    text="#14181f",
    muted="#5a6472",
    line="#e2e6eb",
    accent="#1f56c8",
    category={category.id: category.light for category in CATEGORIES}
    | {
        "input_dataset": "#f7c277",
        "step_0": "#d5dae1",
        "step_1": "#e6e9ee",
        "all_steps": "#7b8594",
        "input_collate": "#d4500c",
    },
)

DARK = Palette(
    scheme="dark",
    bg="#0d1015",
    surface="#161a21",
    text="#e9ecf1",
    muted="#98a3b2",
    line="#282e38",
    accent="#82a9ff",
    category={category.id: category.dark for category in CATEGORIES}
    | {
        "input_dataset": "#ffd591",
        "step_0": "#343b47",
        "step_1": "#262c36",
        "all_steps": "#7d8896",
        "input_collate": "#e2571f",
    },
)

UNDIVIDED = (COMPUTE_OR_HOST,)
"""Categories that hold two activities which the recording does not distinguish."""

ALL_STEPS = "all_steps"
"""The color of all steps together: neutral, because a step contains several categories."""

PHASE_CATEGORIES = {
    "steps": ALL_STEPS,
    "warm-up": COMPUTE_OR_HOST,
    "validation": COMPUTE_OR_HOST,
    "checkpoint": CHECKPOINT,
    "compilation": HOST_BOUND,
    "data-setup": HOST_BOUND,
    "start-up": HOST_BOUND,
    "logging": HOST_BOUND,
    "waiting-for-ranks": PEER_WAIT,
    "not-recorded": PROFILER_OVERHEAD,
}
"""The key of the color that each phase of the whole run has; the others look idle."""


def phase_category(phase: str) -> str:
    """Return the key of the color of a phase of the whole run: a category, or `ALL_STEPS`."""
    return PHASE_CATEGORIES.get(phase, OTHER_IDLE)


def texture(category: str) -> str:
    """Return the pattern on a category's color: `wait` (stripes), `undivided` (dots) or nothing.

    Color is never the only sign.
    """
    if category in CATEGORY and CATEGORY[category].is_wait:
        return "wait"
    return "undivided" if category in UNDIVIDED else ""


def luminance(color: str) -> float:
    """Return the relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2, "relative luminance")."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(color: str, other_color: str) -> float:
    """Return the contrast ratio of two colors, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((luminance(color), luminance(other_color)))
    return (light + 0.05) / (dark + 0.05)


def ink(fill: str) -> str:
    """Return black or white, the one with more contrast on this fill; it is above 4.5 to 1."""
    return max(("#000000", "#ffffff"), key=lambda color: contrast(color, fill))
