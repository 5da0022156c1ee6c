"""compiled/module.c: pieces of a trace to columns."""

from typing import Any

def plan(
    keys: list[str],
    groups: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]],
    categories: dict[str, int],
    instant: str,
    group: int,
) -> object: ...
def holders(thread: Any, start: Any, end: Any) -> bytearray: ...
def columns(
    plan: object, piece: bytes | memoryview
) -> tuple[int, int, int, int, list[bytes], list[list[Any] | None]] | None: ...
