"""Browse runs and traces: verdict first, every number links to the timeline.

PATH is a run folder, a trace, or a folder of them (default: the working directory); the list of
runs refreshes automatically. A run folder that is still being recorded is shown live. To record and
watch a process, use `perfscope attach PID --ui`.

Open the address that is printed, http://127.0.0.1:8050/?token=...; the token keeps out other users
of this machine. The dashboard makes no outbound requests.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.commands.attachment.default_runs import is_growing
from perfscope.commands.options.dashboard_address import (
    DashboardArguments,
    add_dashboard_arguments,
    dashboard_of,
    print_address,
)
from perfscope.commands.options.ignored_findings import add_ignore, ignored_findings
from perfscope.errors import UsageError

if TYPE_CHECKING:
    from perfscope.ui.dashboard.dashboard_data import Live


@dataclass(frozen=True)
class UiArguments(DashboardArguments):
    """The arguments of `perfscope ui`; `live` is an option that was replaced."""

    path: Path
    live: str | None
    ignore: list[str]


ARGUMENTS = UiArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        default=Path(),
        metavar="PATH",
        help="run folder, trace, or folder of them (default: the working directory)",
    )
    parser.add_argument("--live", metavar="PID", help=argparse.SUPPRESS)
    add_dashboard_arguments(parser)
    add_ignore(parser)


def run(args: UiArguments) -> int:
    from perfscope.commands.attachment.live_dashboard import wait_for_interrupt

    if args.live is not None:
        raise UsageError(f"`ui --live` was replaced: run `perfscope attach {args.live} --ui`.")
    ignored = ignored_findings(args.ignore)
    live = live_view_of(args.path, ignored)
    dashboard = dashboard_of(args.path, args, live=live, ignored=ignored)
    if live is not None:
        live.watch.start()
    hint = "press Ctrl-C to close the dashboard"
    try:
        wait_for_interrupt(lambda: print_address(dashboard, hint))
    finally:
        if live is not None:
            live.watch.close()
        dashboard.close()
    return 0


def live_view_of(path: Path, ignored: tuple[str, ...]) -> "Live | None":
    """Return the live view of a run folder that is still being recorded, None for anything else."""
    from perfscope.traces.run_folder.stored import is_run, read_manifest

    if not is_run(path) or read_manifest(path).finished or not is_growing(path):
        return None
    # Imported late: these need pandas, and the list of runs does not.
    from perfscope.ui.dashboard.dashboard_data import Live
    from perfscope.ui.dashboard.live_run import RunWatch

    return Live(RunWatch(path, alive=lambda: is_growing(path), ignored=ignored))
