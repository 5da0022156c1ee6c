"""JSON of anything that a recording may hold.

Names of files and programs need not be UTF-8; Python keeps the bytes of such a name as surrogates.
"""

from typing import Any

import msgspec

ENCODER = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """Return `value` as JSON; bytes of a text that are not UTF-8 become `\\udcXX`, written out."""
    try:
        return ENCODER.encode(value)
    except UnicodeEncodeError:
        return ENCODER.encode(encodable(msgspec.to_builtins(value)))


def encodable(value: Any) -> Any:
    """Return plain data with every text in it made encodable."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(item) for item in value]
    return value
