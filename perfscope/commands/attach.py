"""Look into a running process: what bounds it, what that costs, what to change.

Without --duration it ends when it has 20 steps and 10 seconds, or at --max-duration. Ctrl-C stops
and reports.
"""

import argparse
import io
import os
import re
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun, UsageError
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perfscope.agent.profiler_windows.window import Window
    from perfscope.agent.recorder import Progress, Recorder

FOLLOW_EVERY_S = 5.0
EVEN_WITH_SECCOMP = (  # the name that `agent.entry.seccomp_filter` reads
    "PERFSCOPE_EVEN_WITH_SECCOMP"
)
WATCHED_FLUSH_NS = 500_000_000


@dataclass(frozen=True)
class DepthArguments:
    """Arguments that `attach` and `run` share: instrumentation level, profiling window, job. Times
    are in seconds.
    """

    job_id: str | None
    depth: str
    window: "Window | None"
    every: float | None
    window_stacks: bool
    window_stall: float | None
    follow: bool


@dataclass(frozen=True)
class AttachArguments(DepthArguments):
    """The arguments of `perfscope attach`. Times are in seconds."""

    pid: int
    duration: float | None
    max_duration: float
    all_ranks: bool
    out: Path | None
    json: bool
    html: Path | None
    ui: bool
    steered: bool
    even_with_seccomp: bool


ARGUMENTS = AttachArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", type=int, help="the process to look into; `perfscope ps` lists them")
    parser.add_argument("--duration", type=seconds, metavar="S", help="record this long")
    parser.add_argument(
        "--max-duration", type=seconds, default=120.0, metavar="S", help="at most this long (120)"
    )
    parser.add_argument(
        "--all-ranks",
        action="store_true",
        help="also the other ranks of the job on this host; PID may be the shell that started them",
    )
    add_depth_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the run folder")
    parser.add_argument(
        "--json", action="store_true", help="print the diagnosis as JSON, alone on stdout"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report")
    parser.add_argument(
        "--ui",
        action="store_true",
        help="watch it in the browser while it runs; prints the address",
    )
    parser.add_argument("--steered", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--follow", action="store_true", help="keep watching until Ctrl-C, refreshing the diagnosis"
    )
    parser.add_argument(
        "--even-with-seccomp",
        action="store_true",
        help="enter a process although its seccomp filter is unknown and may end it for that",
    )


def add_depth_arguments(parser: argparse.ArgumentParser) -> None:
    """How deep to look, and which job it is; the same wherever a process is recorded."""
    parser.add_argument(
        "--job-id",
        metavar="NAME",
        help="the same on every host of a job, where torchrun or SLURM do not say it",
    )
    parser.add_argument(
        "--depth",
        choices=("observe", "probe", "kernels"),
        default="kernels",
        help=(
            "kernels (default): steps, loader, and one short window of torch's profiler; probe:"
            " without that window; observe: never enters the process"
        ),
    )
    parser.add_argument(
        "--window",
        type=window,
        metavar="steps=N|seconds=S",
        help="how long that window is (steps=5, 3 s at most)",
    )
    parser.add_argument(
        "--every",
        type=seconds,
        metavar="S",
        help="with --follow: more windows, where they are safe",
    )
    parser.add_argument(
        "--window-stacks", action="store_true", help="Python stacks too; the window is shorter then"
    )
    parser.add_argument(
        "--window-stall",
        type=milliseconds,
        metavar="MS",
        help="what ending it may hold up one step by (250)",
    )


def seconds(text: str) -> float:
    """A positive number of seconds; `90`, `1.5`, `2m` and `30s` are understood."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    value = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"] if match else 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive number of seconds, such as 15 or 2m"
        )
    return value


def milliseconds(text: str) -> float:
    """A positive number of milliseconds, as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms)?", text.strip())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive number of milliseconds, such as 250"
        )
    return float(match[1]) / 1e3


def window(text: str) -> "Window":
    """`steps=5` or `seconds=3`."""
    from perfscope.agent.profiler_windows.window import window_of

    try:
        return window_of(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def asked_window(args: DepthArguments) -> "Window":
    """The window as asked for, the defaults for the rest. Raises UsageError at a depth that takes
    none.
    """
    from perfscope.agent.profiler_windows.window import DEFAULT_STALL_S, DEFAULT_WINDOW

    if args.depth != "kernels" and (
        args.window or args.window_stall or args.every or args.window_stacks
    ):
        raise UsageError(
            f"at --depth {args.depth} no window is taken: leave --depth out, or the options for"
            " windows"
        )
    if args.every and not args.follow:
        raise UsageError(
            "--every belongs to --follow: without it one window is taken; add --follow or leave"
            " it out"
        )
    stall_s = args.window_stall or DEFAULT_STALL_S
    return replace(
        args.window or DEFAULT_WINDOW,
        stall_s=stall_s,
        every_s=args.every,
        stacks=args.window_stacks,
    )


def run(args: AttachArguments) -> int:
    from perfscope.agent.recorder import FLUSH_NS, Plan, Recorder

    asked = asked_window(args)
    if args.even_with_seccomp:
        os.environ[EVEN_WITH_SECCOMP] = "1"
    if args.ui:
        return in_the_browser(args)
    if args.html is not None and not args.html.resolve().parent.is_dir():
        raise UsageError(
            f"no folder {args.html.resolve().parent} for the report; make it or name another file"
        )
    args = follow_to_ranks(args)
    out = args.out or default_folder(args.pid)
    times = (args.duration, args.max_duration, args.all_ranks, args.follow)
    pace = WATCHED_FLUSH_NS if args.steered else FLUSH_NS
    plan = Plan(args.pid, out, args.depth, *times, pace, asked, job=args.job_id, gently=True)
    recorder = Recorder(plan)
    with interruptible(recorder):
        if args.steered:
            from perfscope.agent.control_pipe import steer

            steer(recorder, io.FileIO(os.dup(sys.stdin.fileno())))
        out = watch(recorder, args)
    for problem in recorder.problems:
        print_line(f"perfscope: {problem}", sys.stderr)
    if recorder.run.stopped:
        told = "what was recorded until then follows; free some room or name another --out"
        print_line(f"perfscope: {recorder.run.stopped}: {told}", sys.stderr)
    return (
        0 if args.steered else report_idly(out, args, cores_full=recorder.cpu_use.are_cores_full())
    )


def follow_to_ranks(args: AttachArguments) -> AttachArguments:
    """With --all-ranks the PID may be what the job was started from: a shell, `srun`'s task, a
    container's first process.
    """
    if not args.all_ranks:
        return args
    from perfscope.agent.job.suggest_target import called, ranks_below

    below = ranks_below(args.pid)
    if below is None:
        return args
    print_line(
        f"process {args.pid} is not Python: attaching to {called(below)} below it", sys.stderr
    )
    return replace(args, pid=below.pid)


def in_the_browser(args: AttachArguments) -> int:
    """Record in a process of its own, show it in the browser, print the diagnosis when it ends; the
    page stays till Ctrl-C.
    """
    from perfscope.commands.ui import watched

    out = args.out or default_folder(args.pid)
    return watched(args.pid, out, out, recording_options(args), after=lambda: report(out, args))


def recording_options(args: AttachArguments) -> list[str]:
    """Return the options for the process that records; parsed again they are the same arguments."""
    from perfscope.agent.profiler_windows.window import window_text

    given: dict[str, str | None] = {
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
    }
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    return options + [name for name, switched in switches.items() if switched]


def default_folder(pid: int) -> Path:
    """`perfscope-PID-HHMMSS.perfscope` in the working directory."""
    return Path(f"perfscope-{pid}-{time.strftime('%H%M%S')}.perfscope")


@contextmanager
def interruptible(recorder: "Recorder") -> "Iterator[None]":
    """Ctrl-C, SIGTERM and the end of the terminal end the recording in good order; a second signal
    is taken at its word.
    """

    def stop(number: int, frame: object) -> None:
        if recorder.asked_to_stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), signal.SIGINT)
        recorder.ask_to_stop()

    ending = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        ending.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in ending}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(recorder: "Recorder", args: AttachArguments) -> Path:
    """Record, showing how it goes on stderr (and with --follow the diagnosis so far); returns where
    the run folder is.
    """
    from perfscope.ui.terminal.recording_view import LiveView

    total = args.duration or (None if args.follow else args.max_duration)
    with LiveView(sys.stderr, total_s=total) as view, ThreadPoolExecutor(1) as beside:
        so_far = Diagnoses(recorder.plan.out, beside) if args.follow and not args.steered else None

        def tick(progress: "Progress") -> None:
            view.progress(progress)
            found = so_far.next(progress.elapsed_s) if so_far is not None else None
            if found is not None:
                view.diagnosis(*found)

        return recorder.record(tick)


class Diagnoses:
    """The diagnosis of a growing run folder now and then, made beside the recording: probes leave
    an agent that is silent for seconds.
    """

    def __init__(self, folder: Path, beside: ThreadPoolExecutor) -> None:
        self.folder, self.beside = folder, beside
        self.begun_s = 0.0
        self.coming: Future[tuple[object, object]] | None = None

    def next(self, elapsed_s: float) -> tuple[object, object] | None:
        """The latest, once; None while there is no new one."""
        if self.coming is None:
            if elapsed_s - self.begun_s >= FOLLOW_EVERY_S:
                self.begun_s = elapsed_s
                self.coming = self.beside.submit(diagnosed, self.folder)
            return None
        if not self.coming.done():
            return None
        coming, self.coming = self.coming, None
        try:
            return coming.result()
        except UnreadableRun:  # moved or deleted meanwhile: the recorder reports that at the end
            return None


def diagnosed(folder: Path) -> tuple[object, object]:
    """(diagnosis, trace) of the run folder as it is now."""
    from perfscope.analyzer.diagnose import diagnose
    from perfscope.traces.load import load

    trace = load(folder)
    return diagnose(trace), trace


def report_idly(folder: Path, args: AttachArguments, *, cores_full: bool) -> int:
    """Report once the target is left: on time that nobody else wants, if there is any."""
    from perfscope.agent.idle_priority import in_idle_child

    if cores_full:
        return report(folder, args)
    return in_idle_child(lambda about_to_print: report(folder, args, about_to_print))


def report(
    folder: Path, args: AttachArguments, about_to_print: "Callable[[], None]" = lambda: None
) -> int:
    """Diagnose what was recorded and print it."""
    from perfscope.ui.answer import answer

    return answer(folder, json=args.json, html=args.html, about_to_print=about_to_print)
