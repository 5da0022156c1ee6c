"""Live view of every GPU and PyTorch process, with a one-word status each; read-only.

The status is only a hint; run `perfscope attach PID` for a diagnosis. The metrics pages of
inference engines are read once per second. Without a GPU or its driver, only the processes are
shown.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import filtered_console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perfscope.agent.live.live_sampler import LiveSampler
    from perfscope.traces.live_sample import LiveSample


@dataclass(frozen=True)
class TopArguments:
    """The arguments of `perfscope top`; `interval` is in seconds."""

    pid: list[int]
    interval: float
    count: int | None
    json: bool


ARGUMENTS = TopArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pid",
        type=int,
        nargs="*",
        metavar="PID",
        help="show only these processes (default: all with torch loaded)",
    )
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="S", help="seconds between refreshes (2)"
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after N refreshes")
    parser.add_argument("--json", action="store_true", help="print each refresh as a line of JSON")


def run(args: TopArguments) -> int:
    from perfscope.agent.host import proc
    from perfscope.agent.live.live_sampler import LiveSampler
    from perfscope.errors import UsageError

    if not 0.1 <= args.interval <= 3600:
        raise UsageError("--interval must be 0.1 to 3600 seconds")
    if args.count is not None and args.count < 1:
        raise UsageError("--count must be 1 or more refreshes")
    missing = [pid for pid in args.pid if proc.stat(pid) is None]
    if missing:
        raise UsageError(f"no process with pid {missing[0]}. Run `perfscope ps` to list processes.")
    sampler = LiveSampler(tuple(args.pid))
    try:
        show_samples(live_samples(sampler, args), as_json=args.json)
    except KeyboardInterrupt:
        return 0
    finally:
        sampler.close()
    return 0


def live_samples(sampler: "LiveSampler", args: TopArguments) -> "Iterator[LiveSample]":
    """Yield a sample per refresh: `count` of them, or without end."""
    left = args.count if args.count is not None else -1
    while left != 0:
        yield sampler.sample(args.interval)
        left -= 1


def show_samples(samples: "Iterator[LiveSample]", *, as_json: bool) -> None:
    """Print each sample as a line of JSON, or as a table that is refreshed on a terminal."""
    from rich.live import Live

    from perfscope.analyzer.live_status import add_status_words
    from perfscope.ui.terminal.top_view import print_top_view, top_view

    if as_json:
        for sample in samples:
            print(json_text(add_status_words(sample)), flush=True)
        return
    on_terminal = sys.stdout.isatty()
    console = filtered_console(sys.stdout, width=None if on_terminal else 200)
    if not on_terminal:
        for sample in samples:
            print_top_view(sample, time.strftime("%H:%M:%S"), console)
        return
    with Live(console=console, auto_refresh=False, screen=False) as live:
        for sample in samples:
            live.update(top_view(sample, time.strftime("%H:%M:%S")), refresh=True)
