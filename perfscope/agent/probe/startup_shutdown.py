"""The first and the last moment: whoever waits for the patches to be in place is told, and when the
program ends by itself the probe leaves first. What was not yet sent is sent, and nothing of ours
runs beside the end of the interpreter (hundredths of a second; longer only where a window of the
profiler has to be over).
"""

import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

LAST_WORD_S = 60.0
LOOK_S = 0.005


def of_torch() -> "dict[str, Any] | None":
    """The facts that the manifest keeps of it; None without torch."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return None
    return {
        "version": str(torch.__version__),
        "intra_op_threads": torch.get_num_threads(),
        "inter_op_threads": torch.get_num_interop_threads(),
        "cuda": bool(torch.cuda.is_initialized()),
    }


def install(probe: "Probe") -> None:
    said: list[Any] = []
    first = of_torch()
    threads = [first["intra_op_threads"]] if first is not None else []

    def ask() -> None:
        """On the loop's own thread: the number of threads is a thread's own (OpenMP), and ours
        keeps what it saw first.
        """
        torch = sys.modules.get("torch")
        if torch is not None:
            threads[:] = [torch.get_num_threads()]

    def tick(now_ns: int) -> None:
        """What was true of torch when the probe began may have changed in a program that has only
        just started.
        """
        facts = of_torch()
        if facts is not None and threads:
            facts["intra_op_threads"] = threads[0]
        if facts is not None and facts not in said:
            said[:] = [facts]
            probe.notes.put({"torch": facts})

    if not SHELF["presence"].in_worker():
        probe.ticks.append(tick)
        probe.optimizer_ended.append(ask)
    begun = probe.config.get("begun")
    if begun is not None:
        begun(probe)

    def last_word() -> None:
        if probe.pid != os.getpid() or probe.line is None:
            return  # a forked child that ends as a program of its own
        connection = probe.line.connection
        probe.line.told_to_leave = True
        try:
            connection.shutdown(socket.SHUT_RD)  # wakes our thread
        except OSError:
            return
        until = (
            time.monotonic() + LAST_WORD_S
        )  # a window of the profiler is over by then: its functions must not meet the end
        while connection.fileno() >= 0 and time.monotonic() < until:
            time.sleep(LOOK_S)
        time.sleep(LOOK_S)  # its thread ends

    probe.last_word = probe.guard.one("last word", last_word)
