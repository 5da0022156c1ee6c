"""JSON as commands print it: always valid, and without control characters."""

import re
from typing import Any

UNUSUAL = re.compile(r"[^\n -~]")
SURROGATE = re.compile("[\ud800-\udfff]")


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON.

    Control characters, also those that JSON lets through, are escaped; a half of a surrogate pair,
    which UTF-8 cannot hold, becomes U+FFFD.
    """
    import msgspec

    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(whole_letters(msgspec.to_builtins(value)))
    text = (msgspec.json.format(encoded, indent=indent) if indent is not None else encoded).decode()
    return UNUSUAL.sub(
        lambda match: match[0] if match[0].isprintable() else escaped(match[0]), text
    )


def whole_letters(value: Any) -> Any:
    """Return plain data without halves of surrogate pairs."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {whole_letters(name): whole_letters(each) for name, each in value.items()}
    return [whole_letters(each) for each in value] if isinstance(value, list | tuple) else value


def escaped(letter: str) -> str:
    r"""Return a character as `\uXXXX`, two of them where it is beyond the first 65,536."""
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
