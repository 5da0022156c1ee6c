"""JSON of values whose texts may contain halves of surrogate pairs, which UTF-8 cannot hold.

Names of files and arguments that are not UTF-8 contain them, and damaged recordings.
"""

import re
from typing import Any

import msgspec

SURROGATE = re.compile("[\ud800-\udfff]")


def encoded_json(value: object) -> bytes:
    """Return a value as JSON; a half of a surrogate pair becomes U+FFFD."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(whole_letters(msgspec.to_builtins(value)))


def whole_letters(value: Any) -> Any:
    """Return plain data without halves of surrogate pairs."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {whole_letters(name): whole_letters(each) for name, each in value.items()}
    return [whole_letters(each) for each in value] if isinstance(value, list | tuple) else value
