"""The agent of `perfscope.profile()`, a process of its own: `python -m
perfscope.agent.profile_agent`.

The first line on stdin is its order in JSON: it holds a token, and every user can read a command
line. It detaches from its parent, so that the program has no child it did not start. It ends with
the line `stop`, or when stdin ends with the program; its last line on stdout is JSON, `{"error":
null}` when all went well.
"""

import io
import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from perfscope.agent.profiler_windows.window import Window

CHILDREN_CALL_WITHIN_S = 1.0
"""A worker that was forked calls at once; one that was spawned has nothing of ours, and is entered.
"""


class Order(msgspec.Struct):
    """What to record: this `pid`, whose probes call at the listening socket with the number
    `door`.
    """

    pid: int
    out: str
    door: int
    address: str
    token: str
    depth: str
    window: Window
    rank: int = -1


def record(order: Order, commands: io.FileIO) -> str | None:
    """Record until `commands` say stop; return what went wrong, None when nothing did."""
    from perfscope.agent.collector_guard import Failure, attempt

    stopped = attempt(lambda: stopped_by(order, commands))
    return stopped.reason if isinstance(stopped, Failure) else stopped


def stopped_by(order: Order, commands: io.FileIO) -> str | None:
    """Record; returns what stopped it early, such as a full disk."""
    from perfscope.agent.control_pipe import steer
    from perfscope.agent.delivery.probe_socket import ProbeSocket
    from perfscope.agent.recorder import Plan, Recorder

    listening = socket.socket(fileno=order.door)
    door = ProbeSocket(
        listening, order.address, order.token, order.pid, patience_s=CHILDREN_CALL_WITHIN_S
    )
    plan = Plan(
        order.pid,
        Path(order.out),
        order.depth,
        follow=True,
        window=order.window,
        door=door,
        rank=order.rank,
        gently=True,
    )
    recorder = Recorder(plan)
    steer(recorder, commands)
    recorder.record(lambda _: None)
    return recorder.run.stopped


def main() -> None:
    commands = io.FileIO(
        os.dup(sys.stdin.fileno())
    )  # unbuffered: the lines that follow are read by another thread
    order = msgspec.json.decode(commands.readline(), type=Order)
    if os.fork():
        os._exit(0)
    os.setsid()
    answer: dict[str, Any] = {"error": record(order, commands)}
    os.write(sys.stdout.fileno(), msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
