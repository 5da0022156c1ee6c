"""The palette: one colour, one meaning, on every screen; light and dark. Chosen to stay apart under
colour blindness.
"""

from dataclasses import dataclass

from perfscope.analyzer.categories import CATEGORIES, CATEGORY, COMPUTE_OR_HOST


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; `category` is keyed by the categories of the time budget the two halves
    of a fetch, and steps.
    """

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
    category={category.id: category.light for category in CATEGORIES}
    | {
        "input_dataset": "#f7c277",
        "step_0": "#d5dae1",
        "step_1": "#e6e9ee",
        "input_collate": "#d4500c",
    },
)

DARK = Palette(
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
        "input_collate": "#e2571f",
    },
)

UNDIVIDED = (COMPUTE_OR_HOST,)
"""Categories that hold two things which could not be told apart."""


def texture(category: str) -> str:
    """What is drawn over a category's colour, which is never the only sign: `wait` (stripes),
    `undivided` (dots) or nothing.
    """
    return (
        "wait"
        if category in CATEGORY and CATEGORY[category].is_wait
        else "undivided"
        if category in UNDIVIDED
        else ""
    )


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2, "relative luminance")."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink(fill: str) -> str:
    """Black or white, whichever reads better on this fill; the better one is always above 4.5 to
    1.
    """
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, fill))
