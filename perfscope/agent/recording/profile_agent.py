"""The recording process of `perfscope.profile()`, a module that `module_command` runs.

The first line on stdin is its order, in JSON. (It holds a token, so it is not an argument: every
user can read a command line.) The process detaches from its parent, so that the program has no
child it did not start. The line `stop`, or the end of stdin, ends the recording. Its last line on
stdout is JSON: `{"error": null}` where nothing failed.
"""

import io
import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from perfscope.agent.profiler_windows.window import Window

CHILDREN_CONNECT_WITHIN_S = 1.0
"""The probe of a forked worker connects at once; a spawned worker has no probe and is entered."""


class Order(msgspec.Struct):
    """What to record, and the listening socket (descriptor, address, token) of its probes."""

    pid: int
    out: str
    probe_socket_fd: int
    address: str
    token: str
    depth: str
    window: Window
    rank: int = -1


def run_order(order: Order, commands: io.FileIO) -> str | None:
    """Record until `commands` stop it; return the error, None where nothing failed."""
    from perfscope.agent.collector_guard import Failure, attempt

    result = attempt(lambda: record_until_stopped(order, commands))
    return result.reason if isinstance(result, Failure) else result


def record_until_stopped(order: Order, commands: io.FileIO) -> str | None:
    """Record; return what ended the recording early, such as a full disk."""
    from perfscope.agent.delivery.probe_socket import ProbeSocket
    from perfscope.agent.recording.control_pipe import obey_commands
    from perfscope.agent.recording.recorder import Plan, Recorder

    listening = socket.socket(fileno=order.probe_socket_fd)
    probe_socket = ProbeSocket(
        listening,
        order.address,
        order.token,
        order.pid,
        patience_s=CHILDREN_CONNECT_WITHIN_S,
    )
    plan = Plan(
        order.pid,
        Path(order.out),
        order.depth,
        follow=True,
        window=order.window,
        probe_socket=probe_socket,
        rank=order.rank,
        low_priority=True,
    )
    recorder = Recorder(plan)
    obey_commands(recorder, commands)
    recorder.record(lambda _: None)
    return recorder.run.stopped


def main() -> None:
    """Read the order, detach, record, and print the result."""
    # Not buffered: another thread reads the lines that follow.
    commands = io.FileIO(os.dup(sys.stdin.fileno()))
    order = msgspec.json.decode(commands.readline(), type=Order)
    if os.fork():
        os._exit(0)
    os.setsid()
    answer: dict[str, Any] = {"error": run_order(order, commands)}
    os.write(sys.stdout.fileno(), msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
