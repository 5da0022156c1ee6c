"""Texts of CSV files that people open in a spreadsheet."""

from typing import Final

FORMULA_STARTS: Final = tuple("=+-@\t\r")


def spreadsheet_text(text: str) -> str:
    """Return a text that a spreadsheet does not run as a formula: a quote precedes it."""
    if not text.startswith(FORMULA_STARTS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
