"""What a child forked from this process calls before anything else: one handler per process, which stays after the probe left."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHILDREN = "_perfscope_in_children"
HANDLER = """
def forked():
    while calls:
        calls.pop()()
"""


def in_children() -> "list[Callable[[], None]]":
    """Return the list of what a child forked from here calls first, last one first; the child empties its copy.

    The handler behind it cannot be unregistered, so there is one per process, which every later probe finds again. It refers
    to the list and to nothing else of ours, and does nothing while the list is empty.
    """
    calls: list[Callable[[], None]] | None = vars(os).get(CHILDREN)
    if calls is None:
        calls = []
        space: dict[str, Any] = {"calls": calls}
        exec(HANDLER, space)
        setattr(os, CHILDREN, calls)
        os.register_at_fork(after_in_child=space["forked"])
    return calls
