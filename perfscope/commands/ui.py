"""Look at runs and traces in the browser: the answer first, every number a door.

PATH is a run folder, a trace, or a folder of them (the working directory without one); the list
grows by itself. With --live a running process is recorded and watched meanwhile. No request leaves
this machine.

Open the address that is printed: http://127.0.0.1:8050/?token=... The token keeps out other users
of this machine.
"""

import argparse
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfscope.errors import UsageError
from perfscope.ui.terminal.output import print_line


@dataclass(frozen=True)
class UiArguments:
    """The arguments of `perfscope ui`; `live` is a pid."""

    path: Path
    live: int | None
    port: int | None
    host: str
    no_token: bool


ARGUMENTS = UiArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        default=Path(),
        metavar="PATH",
        help="run, trace or folder of them",
    )
    parser.add_argument("--live", type=int, metavar="PID", help="record this process and watch it")
    parser.add_argument("--port", type=int, metavar="N", help="the port (8050, or a free one)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on (127.0.0.1: this machine only)",
    )
    parser.add_argument(
        "--no-token",
        action="store_true",
        help=(
            "ask for no token: every user of this machine may read the runs and stop a recording"
            " that is watched"
        ),
    )


def run(args: UiArguments) -> int:
    from perfscope.ui.dashboard.auth import refuse_without_token
    from perfscope.ui.dashboard.serve import Dashboard

    if args.no_token:  # before a recording begins; `Access` refuses it too
        refuse_without_token(args.host)
    served = Served(args.host, args.port, not args.no_token)
    if args.live is not None:
        from perfscope.commands.attach import default_folder

        if not args.path.is_dir() or (args.path / "manifest.json").exists():
            raise UsageError(f"{args.path} is no folder to record into; name another with PATH")
        out = args.path / default_folder(args.live)
        return watched(args.live, out, args.path, ["--follow", "--all-ranks"], served=served)
    board = Dashboard(args.path, served.address, served.port, with_token=served.with_token)
    print_line(board.url)
    print_line("Ctrl-C ends it")
    try:
        until_interrupted()
    finally:
        board.close()
    return 0


@dataclass(frozen=True)
class Served:
    """Where the dashboard listens, and whether it asks for a token."""

    address: str = "127.0.0.1"
    port: int | None = None
    with_token: bool = True


def watched(
    pid: int,
    out: Path,
    root: Path,
    options: list[str],
    *,
    served: Served | None = None,
    after: Callable[[], int] = lambda: 0,
) -> int:
    """Record a process and show it. Ctrl-C ends the recording first, then the page; `after` is done
    between the two.
    """
    from perfscope.ui.dashboard.recording import SteeredRecording
    from perfscope.ui.dashboard.serve import Dashboard
    from perfscope.ui.dashboard.source import Live
    from perfscope.ui.dashboard.watch import RunWatch

    place = served if served is not None else Served()
    recording = SteeredRecording(pid, out, options)
    try:
        recording.appeared()
        watch = RunWatch(out, alive=lambda: recording.running)
        live = Live(watch, recording)
        board = Dashboard(root, place.address, place.port, live, with_token=place.with_token)
        watch.start()
        print_line(board.url)
        print_line("Ctrl-C ends the recording, a second one the page")
        try:
            until_interrupted(lambda: not recording.running)
            recording.close()
            code = after()
            print_line(f"the page stays at {board.url}; Ctrl-C ends it")
            until_interrupted()
        finally:
            watch.close()
            board.close()
    finally:
        recording.close()
    return code


def until_interrupted(over: Callable[[], bool] = lambda: False) -> None:
    """Wait for Ctrl-C (or SIGTERM), or until it is over."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not over():
            time.sleep(0.2)
    except KeyboardInterrupt:
        print()
