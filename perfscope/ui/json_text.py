"""JSON as commands print it: always valid, and without control characters."""

import re

UNUSUAL = re.compile(r"[^\n -~]")


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON.

    Control characters, also those that JSON lets through, are escaped; a half of a surrogate pair,
    which UTF-8 cannot hold, becomes U+FFFD.
    """
    import msgspec

    from perfscope.traces.encoded_json import encoded_json

    encoded = encoded_json(value)
    text = (msgspec.json.format(encoded, indent=indent) if indent is not None else encoded).decode()
    return UNUSUAL.sub(
        lambda match: match[0] if match[0].isprintable() else escaped(match[0]), text
    )


def escaped(letter: str) -> str:
    r"""Return a character as `\uXXXX`, two of them where it is beyond the first 65,536."""
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
