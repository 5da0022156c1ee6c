"""Which visit of ours is in this process, what its forked children do first (take everything of
ours out), and what it does last.

The interpreter cannot be told to forget an at-fork handler, and keeps an empty slot for each
function that atexit was told to forget. So there is one of each for the life of the process,
however often it is attached to: loops over a list that is empty while nobody is in. A process that
forks without Python's knowledge (a library in C) does not come by here; there the first patched
function that is called sees that the process is another one.
"""

import _thread
import atexit
import os
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

VISITS = "_perfscope_visits"


def in_the_child() -> None:
    """Run in each forked child; a copy of it stays, which knows nothing but the list."""
    while visits:  # type: ignore[name-defined]  # noqa: F821
        visits.pop().outlived()  # type: ignore[name-defined]  # noqa: F821


def at_the_end() -> None:
    """Run when the program ends; a copy of it stays, too."""
    for visit in visits.copy():  # type: ignore[name-defined]  # noqa: F821
        visit.last_word()


def visits_here() -> "list[Probe]":
    """The list of the visits that this process has: one or none; it is made with the first visit
    and stays.
    """
    known = vars(_thread).get(VISITS)
    if known is None:
        known = []
        setattr(_thread, VISITS, known)
        os.register_at_fork(after_in_child=FunctionType(in_the_child.__code__, {"visits": known}))
        atexit.register(FunctionType(at_the_end.__code__, {"visits": known}))
    return known


def other_visit(probe: "Probe") -> str | None:
    """Say who is in already, None when nobody is; what a fork brought along unseen is taken out."""
    for other in tuple(visits_here()):
        if other.pid != probe.pid:
            visits_here().remove(other)
            other.outlived()
        elif not other.leaving:
            return f"another perfscope (agent pid {other.config['listener']['pid']}) is attached"
    return None


class OwnFile:
    """A descriptor of ours. A forked child may have closed the number and opened a file of its own
    under it: that one stays.
    """

    __slots__ = ("identity", "number")

    def __init__(self, number: int) -> None:
        self.number, self.identity = number, identity(number)

    def is_ours(self) -> bool:
        return self.identity is not None and identity(self.number) == self.identity

    def close(self) -> None:
        number, ours = self.number, self.is_ours()
        self.number = -1
        if ours:
            os.close(number)


def identity(number: int) -> "tuple[int, int] | None":
    """Return what tells the file behind a descriptor from any other; None where there is none."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def in_worker() -> bool:
    """Whether this is a worker process of a data loader."""
    return worker_info() is not None


def worker_info() -> Any:
    """What torch knows of the worker that this process is; None in every other process."""
    return getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None)
