"""Encodes any value that a recording contains as JSON.

Names of files and programs need not be UTF-8; Python represents the bytes of such a name as
surrogates.
"""

from typing import Any

import msgspec

ENCODER = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """Return a value as JSON. Bytes of a text that are not UTF-8 become the text `\\udcXX`."""
    try:
        return ENCODER.encode(value)
    except UnicodeEncodeError:
        return ENCODER.encode(encodable(msgspec.to_builtins(value)))


def encodable(value: Any) -> Any:
    """Return plain data in which every text can be encoded as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(item) for item in value]
    return value
