"""Replaces characters that change how the text around them is shown.

A name in a trace may contain marks that reverse the direction of text: on a page, the numbers after
it would be read backwards. Escape sequences would be copied from a page into a terminal.
"""

import re
from typing import Any, Final

CONTROLS: Final = (
    (0x00, 0x08),
    (0x0B, 0x1F),
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x61C, 0x61C),
    (0x180E, 0x180E),
    (0x200B, 0x200B),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE007F),
)
"""First and last code of each range: controls except newline and tab, hyphens that are not shown,
marks of direction, breaks of lines, invisible operators and annotations. Joiners (U+200C, U+200D)
stay: Persian and emoji need them.
"""
CONTROL: Final = re.compile(f"[{''.join(f'{chr(low)}-{chr(high)}' for low, high in CONTROLS)}]")
"""Such a character; also valid for RE2."""


def shown_text(text: str) -> str:
    """Return the text with a question mark for each such character."""
    return text if text.isascii() and text.isprintable() else CONTROL.sub("?", text)


def shown_values(value: Any) -> Any:
    """Return lists and dictionaries with every text in them as `shown_text` returns it."""
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, dict):
        return {key: shown_values(inner) for key, inner in value.items()}
    return [shown_values(inner) for inner in value] if isinstance(value, list) else value
