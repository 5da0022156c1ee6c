"""The socket to which probes connect that are not injected: those of a command that `perfscope run`
starts, and of `perfscope.profile()`.
"""

import os
import secrets
import socket
from dataclasses import dataclass, field

from perfscope.agent.delivery.peer_credentials import AgentAddress, listener_seen_by
from perfscope.agent.delivery.probe_connection import bound


@dataclass(frozen=True)
class ProbeSocket:
    """A listening socket in our network namespace, its abstract name, and its callers' token."""

    listening: socket.socket
    address: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    owner: int = field(default_factory=os.getpid)
    """The pid of the process that listens, as the kernel reports it to callers."""
    patience_s: float = 15.0
    """A process that has torch is entered if it has not connected by then; the import is slow."""
    nvtx: str | None = None
    """"injected" if the processes have our NVTX library."""

    def address_for(self, pid: int) -> AgentAddress:
        """Return this socket's address for the probe of process `pid`."""
        return AgentAddress(self.address, self.token, listener_seen_by(pid, self.owner))


def open_probe_socket() -> ProbeSocket:
    """Return a new socket for one recording."""
    address = f"perfscope-{os.getpid()}-{secrets.token_hex(8)}"
    return ProbeSocket(bound(address), address)
