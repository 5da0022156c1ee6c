"""The begin and the end of the probe.

At the begin it calls the function that waits for the patches to be in place, if there is one. When
the program exits, the probe leaves first: records that were not sent are sent, and none of its code
runs while the interpreter shuts down. That takes hundredths of a second, and longer only if a
profiling window has to end.
"""

import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

LEAVE_AT_EXIT_S = 60.0  # a profiling window is over by then; it must not run into the exit
CHECK_S = 0.005
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def torch_facts() -> "dict[str, Any] | None":
    """Return what the manifest keeps about torch, None without torch."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return None
    accelerator = MODULES["accelerator"].Accelerator(torch)
    return {
        "version": str(torch.__version__),
        "intra_op_threads": torch.get_num_threads(),
        "inter_op_threads": torch.get_num_interop_threads(),
        "cuda": bool(torch.cuda.is_initialized()),
        "accelerator": accelerator.kind(),
        "hip": accelerator.hip,
        "devices": accelerator.devices(),
        "float32_products": accelerator.float32_products(),
        "anomaly_detection": bool(torch.is_anomaly_enabled()),
        "thread_variables": thread_variables(),
    }


def thread_variables() -> "dict[str, int]":
    """Return the environment variables that set the number of threads; no other is read."""
    texts = {name: os.environ.get(name, "") for name in THREAD_VARIABLES}
    return {name: int(text) for name, text in texts.items() if text.isdecimal() and len(text) < 6}


def install(probe: "InstalledProbe") -> None:
    """Report changes of torch's state, announce that the probe is installed, prepare the exit."""
    if not MODULES["process_state"].in_worker():
        watch_torch(probe)
    begun = probe.config.get("begun")
    if begun is not None:
        begun(probe)
    probe.leave_at_exit = probe.guard.guarded("leave at exit", lambda: leave_at_exit(probe))


def watch_torch(probe: "InstalledProbe") -> None:
    """Report the state of torch when it changes; in a program that just started, it still does."""
    reported: list[Any] = []
    first = torch_facts()
    threads = [first["intra_op_threads"]] if first is not None else []
    is_due = [True]

    def read_threads(*_: int) -> None:
        """Read the number of threads on the thread that calls the model, once per tick.

        With OpenMP each thread has a number of its own, and the probe's thread keeps its first one.
        """
        torch = sys.modules.get("torch")
        if is_due and torch is not None:
            is_due.clear()
            threads[:] = [torch.get_num_threads()]

    def tick(now_ns: int) -> None:
        is_due[:] = [True]
        facts = torch_facts()
        if facts is not None and threads:
            facts["intra_op_threads"] = threads[0]
        if facts is not None and facts not in reported:
            reported[:] = [facts]
            probe.notes.put({"note": "torch", "torch": facts})

    probe.ticks.append(tick)
    probe.forward_began.append(read_threads)
    probe.optimizer_ended.append(read_threads)


def leave_at_exit(probe: "InstalledProbe") -> None:
    """Make the probe leave, and wait until it has."""
    if probe.pid != os.getpid() or probe.line is None:
        return  # a forked child that exits as a program of its own
    connection = probe.line.connection
    probe.line.must_leave = True
    try:
        connection.shutdown(socket.SHUT_RD)  # wakes the probe's thread
    except OSError:
        return
    until = time.monotonic() + LEAVE_AT_EXIT_S
    while connection.fileno() >= 0 and time.monotonic() < until:
        time.sleep(CHECK_S)
    time.sleep(CHECK_S)  # until the thread has ended
