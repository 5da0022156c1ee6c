"""The size and style of the terminal that a diagnosis is printed to, and text that fits into it."""

import re
import textwrap
from dataclasses import dataclass

from rich.text import Text

from perfscope.ui.theme import DARK

SCREEN_LINES = 40
MUTED = "bright_black"
STRIPE_COLOR = "#7a4d16"
WORD_WITH_NUMBER = re.compile(
    r"(?<=\d) (?=(%|ms|s|µs|MB|GB|cores?|steps?|samples/s|tokens/s|MFU)(?!\w))"
    r"|(?<=confidence) (?=\d)"
)
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class TerminalLayout:
    """Columns and lines of the screen, whether it has colors, and whether everything is listed."""

    width: int = 100
    height: int = SCREEN_LINES
    in_color: bool = False
    verbose: bool = False


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Return lines of at most `width` columns; a number stays on the line of its unit."""
    kept_together = WORD_WITH_NUMBER.sub(NO_BREAK_SPACE, text)
    lines = textwrap.wrap(
        kept_together,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )
    return [line.replace(NO_BREAK_SPACE, " ") for line in lines]


def wrapped_lines(
    text: str, layout: TerminalLayout, indent: int = 0, style: str = ""
) -> list[Text]:
    """Return the text as lines of the screen, indented by `indent` columns."""
    margin = " " * indent
    return [Text(line, style=style) for line in wrapped(text, layout.width, margin, margin)]


def fill(category: str, cells: int, layout: TerminalLayout, *, is_wait: bool) -> Text:
    """Return a piece of a bar in the color of a category; waits are striped."""
    if not layout.in_color:
        return Text(("▒" if is_wait else "█") * cells)
    color = DARK.category[category]
    return Text(("╱" if is_wait else " ") * cells, style=f"{STRIPE_COLOR} on {color}")
