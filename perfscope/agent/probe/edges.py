"""The first and the last moment, where the program was started by us or has asked to be recorded: whoever waits for the patches
to be in place is told, and when the program ends by itself, what was not yet sent is sent (hundredths of a second).
"""

import atexit
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from perfscope.agent.probe.core import Probe

LAST_WORD_S = 1.5
LOOK_S = 0.005


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    return None


def install(probe: "Probe") -> None:
    begun = probe.config.get("begun")
    if begun is not None:
        begun(probe)
    if not probe.config.get("at_exit"):
        return

    def last_word() -> None:
        if probe.pid != os.getpid() or probe.line is None:
            return  # a forked child that ends as a program of its own
        connection = probe.line.connection
        probe.line.told_to_leave = True
        try:
            connection.shutdown(socket.SHUT_RD)  # wakes our thread
        except OSError:
            return
        until = time.monotonic() + LAST_WORD_S
        while connection.fileno() >= 0 and time.monotonic() < until:
            time.sleep(LOOK_S)

    atexit.register(last_word)
    probe.undo.append(lambda: atexit.unregister(last_word))
