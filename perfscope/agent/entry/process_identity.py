"""The identity of a process when an entry begins, to notice if it executes another program.

Another user's process can execute a setuid program at any moment, also after it was checked and
before it is stopped.
"""

from dataclasses import dataclass

from perfscope.agent.host import proc
from perfscope.errors import CannotEnter

CREDENTIALS = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd")


@dataclass(frozen=True)
class ProcessIdentity:
    """Start time, memory image and credentials; the image changes with every exec."""

    start_ticks: int
    image: tuple[int, int]
    credentials: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """A process that is entered.

    memory: its /proc/PID/mem, opened for writing before `identity` was read.
    """

    pid: int
    memory: int
    identity: ProcessIdentity

    def refuse_if_changed(self) -> dict[str, str]:
        """Return /proc/PID/status.

        Raises CannotEnter if the program or its rights have changed since the entry began, OSError.
        """
        status = proc.read_status(self.pid)
        if identity_by(self.pid, status) != self.identity:
            raise CannotEnter(
                f"pid {self.pid} started another program or changed its rights during the entry:"
                " attach again"
            )
        return status


def read_identity(pid: int) -> ProcessIdentity:
    """Return the identity of process `pid` now. Raises OSError if it has exited."""
    return identity_by(pid, proc.read_status(pid))


def identity_by(pid: int, status: dict[str, str]) -> ProcessIdentity:
    """Return the identity of process `pid` now, given its current /proc/PID/status.

    Raises OSError if it has exited.
    """
    stat = proc.stat(pid)
    if stat is None or stat.image == proc.NO_IMAGE:
        raise ProcessLookupError(pid)
    credentials = tuple(" ".join(status.get(name, "").split()) for name in CREDENTIALS)
    return ProcessIdentity(stat.start_ticks, stat.image, credentials)
