"""Record a running PyTorch process, and print what limits it, what that costs and how to fix it.

Without PID it records the only candidate. Without --duration it stops after 20 steps and at least
10 s, or at --max-duration, whichever comes first. Ctrl-C stops the recording and prints the
diagnosis.
"""

import argparse
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.agent.engine_metrics.address import parse_page_address
from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.commands.attachment.default_runs import default_run_folder, remove_older_runs
from perfscope.commands.attachment.recording import record_with_progress, stopped_by_signals
from perfscope.commands.attachment.target import target_pid
from perfscope.commands.options.dashboard_address import (
    DashboardArguments,
    add_dashboard_arguments,
)
from perfscope.commands.options.depth import DepthArguments, add_depth_arguments, requested_window
from perfscope.commands.options.durations import parse_seconds
from perfscope.commands.options.ignored_findings import add_ignore, ignored_findings
from perfscope.commands.options.json_output import add_json_output
from perfscope.commands.options.redaction import add_redact
from perfscope.commands.options.service_levels import add_service_levels
from perfscope.errors import UsageError
from perfscope.ui.answer import AnswerOptions, answer, load_and_diagnose, refuse_missing_folders
from perfscope.ui.terminal.output import print_line
from perfscope.ui.terminal.verbose_option import add_verbose_option

if TYPE_CHECKING:
    from perfscope.agent.profiler_windows.window import Window
    from perfscope.agent.recording.recorder import Plan, Recorder

EVEN_WITH_SECCOMP = (  # the name that `agent.entry.seccomp_filter` reads
    "PERFSCOPE_EVEN_WITH_SECCOMP"
)
WATCHED_FLUSH_NS = 500_000_000
"""How often a recording that the dashboard shows writes what it has."""


@dataclass(frozen=True)
class AttachArguments(DepthArguments, DashboardArguments):
    """The arguments of `perfscope attach`. Times are in seconds.

    `steered` is for the dashboard: it sends commands to the recording on stdin, and prints the
    diagnosis itself.
    """

    pid: int | None
    duration: float | None
    max_duration: float
    all_ranks: bool
    out: Path | None
    keep: int | None
    json: Path | None
    html: Path | None
    ignore: list[str]
    redact: bool
    slo: list[LatencyLimit]
    verbose: bool
    ui: bool
    steered: bool
    even_with_seccomp: bool
    metrics: list[str]
    no_metrics: bool


ARGUMENTS = AttachArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pid",
        type=int,
        nargs="?",
        metavar="PID",
        help="process to record (default: the only candidate); `perfscope ps` lists candidates",
    )
    parser.add_argument(
        "--duration", type=parse_seconds, metavar="S", help="stop recording after S seconds"
    )
    parser.add_argument(
        "--max-duration",
        type=parse_seconds,
        default=120.0,
        metavar="S",
        help="without --duration: stop after at most S seconds (default: 120)",
    )
    parser.add_argument(
        "--all-ranks",
        action="store_true",
        help="record all ranks of the job on this host; PID may be a shell that started them",
    )
    add_depth_arguments(parser, needs_follow=True)
    parser.add_argument(
        "--follow",
        action="store_true",
        help="record until Ctrl-C, and print the diagnosis so far every few seconds",
    )
    parser.add_argument("--steered", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--even-with-seccomp",
        action="store_true",
        help="enter the process even if its seccomp filter cannot be read and might kill it",
    )
    parser.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="URL",
        help="read this metrics page of an inference engine; repeat it for replicas (default: the"
        " page of the engine that PID belongs to)",
    )
    parser.add_argument(
        "--no-metrics", action="store_true", help="do not read the metrics of an inference engine"
    )
    add_output_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the run folder and the diagnosis go."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="run folder to write (default: perfscope-PID-HHMMSS.perfscope)",
    )
    parser.add_argument(
        "--keep",
        type=run_count,
        metavar="N",
        help="keep the newest N run folders of attach in the working directory; delete older ones",
    )
    add_json_output(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report to FILE")
    add_verbose_option(parser)
    add_ignore(parser)
    add_redact(parser)
    add_service_levels(parser)
    parser.add_argument(
        "--ui",
        action="store_true",
        help="show the recording in the browser while it runs; prints the address",
    )
    add_dashboard_arguments(parser, "with --ui: ")


def run_count(text: str) -> int:
    """Return a number of runs, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs, 1 or more")
    return int(text)


def run(args: AttachArguments) -> int:
    window = requested_window(args)
    options = answer_options(args)
    refuse_contradictions(args)
    refuse_missing_folders(options)
    pid = target_pid(
        args.pid, all_ranks=args.all_ranks and not args.ui, print_list=not options.prints_json
    )
    if args.even_with_seccomp:
        os.environ[EVEN_WITH_SECCOMP] = "1"
    out = args.out or default_run_folder(pid)
    if args.ui:
        return show_in_browser(pid, out, args, options)
    recorder = start_recorder(pid, out, args, window)
    out = run_recorder(recorder, args, options)
    remove_runs_beyond(args)
    if args.steered:
        return 0
    at_once = recorder.cpu_use.are_cores_full() or recorder.job.is_stuck
    return report_at_low_priority(out, options, at_once=at_once)


def refuse_contradictions(args: AttachArguments) -> None:
    """Raise UsageError for options that have no effect together, and for bad addresses."""
    for url in args.metrics:
        parse_page_address(url)
    if args.metrics and args.no_metrics:
        raise UsageError("--metrics and --no-metrics contradict each other. Remove one of them.")
    if args.keep is not None and args.out is not None:
        raise UsageError("--keep counts runs in the working directory. Remove --out or --keep.")
    given = {
        "--port": args.port is not None,
        "--base-path": args.base_path is not None,
        "--no-token": args.no_token,
    }
    without_ui = [name for name, is_given in given.items() if is_given and not args.ui]
    if without_ui:
        raise UsageError(f"{without_ui[0]} is an option of the dashboard. Add --ui or remove it.")


def answer_options(args: AttachArguments) -> AnswerOptions:
    """Return where the diagnosis goes, and what is left out of it."""
    ignored = ignored_findings(args.ignore)
    return AnswerOptions(
        args.json, args.html, ignored, args.redact, args.verbose, service_levels=tuple(args.slo)
    )


def start_recorder(pid: int, out: Path, args: AttachArguments, window: "Window") -> "Recorder":
    """Create the run folder and the recorder."""
    from perfscope.agent.recording.recorder import Recorder

    return Recorder(plan_of(pid, out, args, window))


def plan_of(pid: int, out: Path, args: AttachArguments, window: "Window") -> "Plan":
    """Return what to record."""
    from perfscope.agent.recording.recorder import FLUSH_NS, Plan

    return Plan(
        pid=pid,
        out=out,
        depth=args.depth,
        duration_s=args.duration,
        max_duration_s=args.max_duration,
        all_ranks=args.all_ranks,
        follow=args.follow,
        flush_ns=WATCHED_FLUSH_NS if args.steered else FLUSH_NS,
        window=window,
        job=args.job_id,
        low_priority=True,
        metrics_urls=tuple(args.metrics),
        wants_metrics=not args.no_metrics,
    )


def run_recorder(recorder: "Recorder", args: AttachArguments, options: AnswerOptions) -> Path:
    """Record to the end, print what went wrong, and return where the run folder is."""
    shows_diagnoses = args.follow and not args.steered
    folder = recorder.plan.out
    with stopped_by_signals(recorder):
        if args.steered:
            from perfscope.agent.recording.control_pipe import obey_commands

            obey_commands(recorder, io.FileIO(os.dup(sys.stdin.fileno())))
        out = record_with_progress(
            recorder,
            total_s=args.duration or (None if args.follow else args.max_duration),
            diagnose=(lambda: load_and_diagnose(folder, options)) if shows_diagnoses else None,
        )
    for problem in recorder.problems:
        print_line(f"perfscope: {problem}", sys.stderr)
    if recorder.run.stopped:
        print_line(
            f"perfscope: {recorder.run.stopped}; what was recorded until then follows. Free some"
            " disk space or choose another --out.",
            sys.stderr,
        )
    return out


def remove_runs_beyond(args: AttachArguments) -> None:
    """Remove old run folders where `--keep` asks for that."""
    if args.keep is None:
        return
    for name in remove_older_runs(Path(), args.keep):
        print_line(f"removed {name}", sys.stderr)


def show_in_browser(pid: int, out: Path, args: AttachArguments, options: AnswerOptions) -> int:
    """Record in another process, show it in the browser, and print the diagnosis when it ends."""
    from perfscope.commands.attachment.live_dashboard import show_recording

    def finish() -> int:
        remove_runs_beyond(args)
        return answer(out, options)

    return show_recording(
        pid, out, recording_options(args), args, ignored=options.ignored, after=finish
    )


def recording_options(args: AttachArguments) -> list[str]:
    """Return the options for the process that records; parsed again they are the same arguments."""
    from perfscope.agent.profiler_windows.window import window_text

    values: dict[str, str | None] = {
        "--max-duration": f"{args.max_duration:.9f}",
        "--depth": args.depth,
        "--duration": None if args.duration is None else f"{args.duration:.9f}",
        "--job-id": args.job_id,
        "--window": None if args.window is None else window_text(args.window),
        "--window-stall": None if args.window_stall is None else f"{args.window_stall * 1e3:.9f}",
        "--every": None if args.every is None else f"{args.every:.9f}",
    }
    switches = {
        "--all-ranks": args.all_ranks,
        "--follow": args.follow,
        "--window-stacks": args.window_stacks,
        "--no-metrics": args.no_metrics,
    }
    options = [f"{name}={value}" for name, value in values.items() if value is not None]
    options += [f"--metrics={url}" for url in args.metrics]
    return options + [name for name, is_on in switches.items() if is_on]


def report_at_low_priority(folder: Path, options: AnswerOptions, *, at_once: bool) -> int:
    """Diagnose and print after detaching, on idle cores, so that the target does not wait for it.

    `at_once`: do not wait for idle cores, because there are none or the target hangs.
    """
    from perfscope.agent.overhead.idle_priority import in_idle_child

    if at_once:
        return answer(folder, options)
    return in_idle_child(lambda about_to_print: answer(folder, options, about_to_print))
