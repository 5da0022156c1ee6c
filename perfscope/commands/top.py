"""What every GPU and every process that computes does now, live, with one word for each; nothing is entered or recorded.

The word is a first look: `attach PID` finds out. Without a GPU or its driver the processes are shown alone.
"""

import argparse
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class TopArguments:
    """What the command line of `perfscope top` says; `interval` is in seconds."""

    pid: list[int]
    interval: float
    count: int | None
    json: bool


ARGUMENTS = TopArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", type=int, nargs="*", metavar="PID", help="only these processes (all with torch loaded)")
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between looks (2)")
    parser.add_argument("--count", type=int, metavar="N", help="end after N looks")
    parser.add_argument("--json", action="store_true", help="print each look as a line of JSON")


def run(args: TopArguments) -> int:
    import msgspec
    from rich.console import Console
    from rich.live import Live

    from perfscope.agent.glances import Looker
    from perfscope.analyzer.glance import worded
    from perfscope.errors import UsageError
    from perfscope.ui.terminal.top_view import printed, top_view

    if not 0.1 <= args.interval <= 3600:
        raise UsageError("--interval is 0.1 to 3600 seconds")
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    looker = Looker(tuple(args.pid))
    left = args.count if args.count is not None else -1
    try:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while left != 0:
                seen, left = looker.look(args.interval), left - 1
                when = time.strftime("%H:%M:%S")
                if args.json:
                    sys.stdout.write(msgspec.json.encode(worded(seen)).decode() + "\n")
                    sys.stdout.flush()
                elif sys.stdout.isatty():
                    live.update(top_view(seen, when), refresh=True)
                else:
                    printed(seen, when, console)
    except KeyboardInterrupt:
        return 0
    finally:
        looker.close()
    return 0
