"""What a process is when an entry begins: a program that it executes meanwhile must not be entered
in its place.

Another user's process can execute a setuid program at any moment, after it was checked and before
it is stopped.
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
    """A process that is entered; `memory` is its /proc/PID/mem, opened for writing before
    `identity` was taken.
    """

    pid: int
    memory: int
    identity: ProcessIdentity

    def refuse_if_changed(self) -> dict[str, str]:
        """Raise CannotEnter when it is another program, or has other rights, than when the entry
        began; OSError.

        Returns /proc/PID/status.
        """
        status = proc.status(self.pid)
        if identity_by(self.pid, status) != self.identity:
            raise CannotEnter(
                f"pid {self.pid} started another program or changed its rights during the entry:"
                " attach again"
            )
        return status


def identity_of(pid: int) -> ProcessIdentity:
    """Return the identity of process `pid` now. Raises OSError when it is gone."""
    return identity_by(pid, proc.status(pid))


def identity_by(pid: int, status: dict[str, str]) -> ProcessIdentity:
    """Return the identity of process `pid` now, of which `status` has just been read. Raises
    OSError when it is gone.
    """
    stat = proc.stat(pid)
    if stat is None or stat.image == proc.NO_IMAGE:
        raise ProcessLookupError(pid)
    credentials = tuple(" ".join(status.get(name, "").split()) for name in CREDENTIALS)
    return ProcessIdentity(stat.start_ticks, stat.image, credentials)
