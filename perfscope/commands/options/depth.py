"""Options that `attach` and `run` share: instrumentation level, profiling window, job."""

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perfscope.commands.options.durations import parse_milliseconds, parse_seconds
from perfscope.errors import UsageError

if TYPE_CHECKING:
    from perfscope.agent.profiler_windows.window import Window


@dataclass(frozen=True)
class DepthArguments:
    """Instrumentation level, profiling window and job. Times are in seconds."""

    job_id: str | None
    depth: str
    window: "Window | None"
    every: float | None
    window_stacks: bool
    window_stall: float | None
    follow: bool


def add_depth_arguments(parser: argparse.ArgumentParser, *, needs_follow: bool) -> None:
    """Add the options of `DepthArguments`, except `--follow`."""
    parser.add_argument(
        "--job-id",
        metavar="NAME",
        help="name of the job, the same on every host; not needed under torchrun and SLURM",
    )
    parser.add_argument(
        "--depth",
        choices=("observe", "probe", "kernels"),
        default="kernels",
        help=(
            "instrumentation level. kernels (default): steps, data loader, and one short window of"
            " torch's profiler; probe: all but that window; observe: never enters the process"
        ),
    )
    parser.add_argument(
        "--window",
        type=parse_window,
        metavar="steps=N|seconds=S",
        help="length of the profiling window (default: steps=5, at most 3 s)",
    )
    parser.add_argument(
        "--every",
        type=parse_seconds,
        metavar="S",
        help=(
            f"{'with --follow: ' if needs_follow else ''}take a new window every S seconds, if"
            " a second one is safe in the version of torch that the process uses"
        ),
    )
    parser.add_argument(
        "--window-stacks",
        action="store_true",
        help="record Python stacks in the window too, which shortens it",
    )
    parser.add_argument(
        "--window-stall",
        type=parse_milliseconds,
        metavar="MS",
        help="longest time that ending the window may delay a step (default: 250)",
    )


def parse_window(text: str) -> "Window":
    """Return the window described by `steps=5` or `seconds=3`."""
    from perfscope.agent.profiler_windows.window import window_of

    try:
        return window_of(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def requested_window(args: DepthArguments) -> "Window":
    """Return the requested window, with defaults for what was not given. Raises UsageError for
    options that contradict each other.
    """
    from perfscope.agent.profiler_windows.window import DEFAULT_STALL_S, DEFAULT_WINDOW

    window_options = (args.window, args.window_stall, args.every, args.window_stacks)
    if args.depth != "kernels" and any(window_options):
        raise UsageError(
            f"--depth {args.depth} takes no profiling window. Remove --depth or the window options."
        )
    if args.every and not args.follow:
        raise UsageError("--every needs --follow. Add --follow or remove --every.")
    return replace(
        args.window or DEFAULT_WINDOW,
        stall_s=args.window_stall or DEFAULT_STALL_S,
        every_s=args.every,
        stacks=args.window_stacks,
    )
