"""Where probes call that come by themselves: those of a command that `perfscope run` starts, and of
`perfscope.profile()`.
"""

import os
import secrets
import socket
from dataclasses import dataclass, field

from perfscope.agent.delivery.peers import AgentAddress, listener_seen_by
from perfscope.agent.delivery.probe_line import bound


@dataclass(frozen=True)
class Door:
    """A listening socket in our own network namespace, its abstract name, and the word by which
    callers are known.
    """

    listening: socket.socket
    address: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    owner: int = field(default_factory=os.getpid)
    """The process that listens, as the kernel tells whoever calls."""
    patience_s: float = 15.0
    """A process that has torch and has not called by then is entered; importing torch may take
    long.
    """
    nvtx: str | None = None
    """"injected": the processes have our NVTX library."""

    def address_for(self, pid: int) -> AgentAddress:
        """Return what the probe of process `pid` is told of this socket."""
        return AgentAddress(self.address, self.token, listener_seen_by(pid, self.owner))


def open_door() -> Door:
    """A door of its own for one recording."""
    address = f"perfscope-{os.getpid()}-{secrets.token_hex(8)}"
    return Door(bound(address), address)
