"""Which probe is in this process, and what runs in forked children and at exit.

An at-fork handler cannot be removed, and `atexit` keeps an empty slot for each removed function. So
the process gets one of each, however often perfscope attaches. Both walk over a list of probes that
is empty while none is attached. A child that a C library forked does not run the handler; there the
first call of a patched function notices that the pid has changed.
"""

import _thread
import atexit
import os
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

PROBES_ATTRIBUTE = "_perfscope_probes"


def remove_probe_in_child() -> None:
    """Remove the probe from a forked child.

    A copy of this function stays in the process; its only global name is the list `probes`.
    """
    while probes:  # type: ignore[name-defined]  # noqa: F821
        probes.pop().clean_up()  # type: ignore[name-defined]  # noqa: F821


def leave_before_exit() -> None:
    """Let the probe leave before the program exits; a copy of this function stays, too."""
    for probe in probes.copy():  # type: ignore[name-defined]  # noqa: F821
        probe.leave_at_exit()


def probes_in_process() -> "list[InstalledProbe]":
    """Return the list of the probes in this process, at most one; the list itself stays."""
    known = vars(_thread).get(PROBES_ATTRIBUTE)
    if known is None:
        known = []
        setattr(_thread, PROBES_ATTRIBUTE, known)
        at_fork = FunctionType(remove_probe_in_child.__code__, {"probes": known})
        at_exit = FunctionType(leave_before_exit.__code__, {"probes": known})
        os.register_at_fork(after_in_child=at_fork)
        atexit.register(at_exit)
    return known


def refusal_of_second_probe(probe: "InstalledProbe") -> "str | None":
    """Return why `probe` must not be installed, None if no other probe is.

    A probe that a fork brought along unnoticed is removed.
    """
    for other in tuple(probes_in_process()):
        if other.pid != probe.pid:
            probes_in_process().remove(other)
            other.clean_up()
        elif not other.leaving:
            return f"another perfscope (agent pid {other.config['listener']['pid']}) is attached"
    return None


class OwnFile:
    """A descriptor that the probe opened.

    The program may close it and open a file of its own under the same number, for example in a
    forked child. That file is never closed here.
    """

    __slots__ = ("identity", "number")

    def __init__(self, number: int) -> None:
        self.number, self.identity = number, file_identity(number)

    def is_ours(self) -> bool:
        return self.identity is not None and file_identity(self.number) == self.identity

    def close(self) -> None:
        number, is_ours = self.number, self.is_ours()
        self.number = -1
        if is_ours:
            os.close(number)


def file_identity(number: int) -> "tuple[int, int] | None":
    """Return (device, inode) of an open descriptor, None if it is not open."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def in_worker() -> bool:
    """Return whether this is a worker process of a data loader."""
    return worker_info() is not None


def worker_info() -> Any:
    """Return what torch knows about this worker; None in every other process."""
    return getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None)
