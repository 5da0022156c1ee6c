"""Start a command and record it from its first step to its end: `perfscope run -- python train.py`,
also under torchrun.

Input, output, signals and exit code are the command's own. The diagnosis is printed to stderr when
the command exits.
"""

import argparse
import os
import resource
import shlex
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.commands.options.depth import DepthArguments, add_depth_arguments, requested_window
from perfscope.commands.options.durations import parse_seconds
from perfscope.commands.options.ignored_findings import add_ignore, ignored_findings
from perfscope.commands.options.json_output import add_json_file
from perfscope.commands.options.redaction import add_redact
from perfscope.commands.options.service_levels import add_service_levels
from perfscope.errors import UsageError
from perfscope.ui.answer import (
    AnswerOptions,
    load_and_diagnose,
    refuse_missing_folders,
    save,
    write_diagnosis,
)
from perfscope.ui.terminal.output import print_line
from perfscope.ui.terminal.verbose_option import add_verbose_option

if TYPE_CHECKING:
    from perfscope.agent.profiler_windows.window import Window


LONGEST_REPORT_S = 300
"""CPU time of the diagnosis. With a limit on memory, some libraries run forever and do not fail."""


@dataclass(frozen=True)
class RunArguments(DepthArguments):
    """The arguments of `perfscope run`; `duration` is in seconds."""

    words: list[str]
    duration: float | None
    out: Path | None
    json: Path | None
    html: Path | None
    ignore: list[str]
    redact: bool
    slo: list[LatencyLimit]
    verbose: bool


ARGUMENTS = RunArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "perfscope run [options] [--] COMMAND [ARGUMENT ...]"
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments"
    )
    parser.add_argument(
        "--duration",
        type=parse_seconds,
        metavar="S",
        help="stop recording after S seconds (default: when the command exits)",
    )
    add_depth_arguments(parser, needs_follow=False)
    parser.set_defaults(follow=True)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="run folder to write (default: perfscope-PROGRAM-HHMMSS.perfscope)",
    )
    add_json_file(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report to FILE")
    add_ignore(parser)
    add_redact(parser)
    add_service_levels(parser)
    add_verbose_option(parser)


@dataclass(frozen=True)
class RunPlan:
    """What to run, and how it is recorded and reported."""

    words: list[str]
    out: Path
    depth: str
    duration_s: float | None
    job_id: str | None
    window: "Window"
    options: AnswerOptions


def run(args: RunArguments) -> int:
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words:
        raise UsageError("no command to run. Give one after `--`: perfscope run -- python train.py")
    ignored = ignored_findings(args.ignore)
    options = AnswerOptions(
        args.json, args.html, ignored, args.redact, args.verbose, service_levels=tuple(args.slo)
    )
    window = requested_window(args)
    refuse_missing_folders(options)
    out = args.out or default_folder(words[0])
    plan = RunPlan(words, out, args.depth, args.duration, args.job_id, window, options)
    return run_and_record(plan)


def default_folder(program: str) -> Path:
    """Return `perfscope-PROGRAM-HHMMSS.perfscope` in the working directory; with the rank where the
    launcher sets one, so that each rank has a folder.
    """
    from perfscope.agent.job.roles import place_from_environment

    rank = place_from_environment(os.environ, "RANK")
    suffix = f"-rank{rank}" if rank >= 0 else ""
    return Path(f"perfscope-{Path(program).name}-{time.strftime('%H%M%S')}{suffix}.perfscope")


def run_and_record(plan: RunPlan) -> int:
    """Run the command and record it; return the command's exit code.

    A failure of ours is reported and changes nothing for the command: we wait for it, pass on the
    signals that are sent to us, and exit with its code. Raises UsageError where the command cannot
    be started.
    """
    from perfscope.agent.collector_guard import Failure, attempt
    from perfscope.agent.job.started_command import StartedCommand, ignore_signals

    probe_entry = attempt(lambda: ProbeEntry(plan.depth, plan.window))
    if isinstance(probe_entry, Failure):
        print_problem(f"not recorded: {probe_entry.reason}")
        return StartedCommand(plan.words, dict(os.environ)).wait()
    try:
        command = StartedCommand(plan.words, probe_entry.environment)
        recorded = attempt(lambda: record_command(command.pid, plan, probe_entry))
        if isinstance(recorded, Failure):
            print_problem(f"not recorded: {recorded.reason}")
            attempt(probe_entry.stop_listening)
        code = command.wait()
    finally:
        attempt(probe_entry.remove_files)
    try:
        command.release_signals()
        if isinstance(recorded, Path):
            reported = attempt(lambda: report_in_child(recorded, plan.options))
            if isinstance(reported, Failure):
                print_problem(reported.reason)
    except KeyboardInterrupt:
        print_problem(f"the diagnosis was interrupted; repeat it: {analyze_command(recorded)}")
    finally:
        ignore_signals()
    return code


class ProbeEntry:
    """How probes enter the command: the sockets that they connect to, and the environment that
    loads them.
    """

    def __init__(self, depth: str, window: "Window") -> None:
        """Raises OSError where there is no room for the files, or no socket."""
        from perfscope.agent.delivery.probe_socket import open_probe_socket
        from perfscope.agent.delivery.start_folder import nvtx_environment, start_folder

        self.window = window
        self.nvtx_socket = open_probe_socket()
        nvtx = nvtx_environment(self.nvtx_socket)
        self.has_nvtx = bool(nvtx)
        self.probe_socket = replace(open_probe_socket(), nvtx="injected" if nvtx else None)
        self.folder = ExitStack()
        entered = start_folder(self.probe_socket, window if depth == "kernels" else None, nvtx)
        self.environment = self.folder.enter_context(entered)

    def stop_listening(self) -> None:
        """Close the sockets; probes that start later cannot connect, and end."""
        self.probe_socket.listening.close()
        self.nvtx_socket.listening.close()

    def remove_files(self) -> None:
        """Remove the files."""
        self.folder.close()


def record_command(pid: int, plan: RunPlan, probe_entry: ProbeEntry) -> Path:
    """Record until the command ends; return where the run folder is. Raises PerfscopeError where
    that is impossible.
    """
    from perfscope.agent.recording.recorder import Plan, Recorder

    recording = Plan(
        pid,
        plan.out,
        plan.depth,
        plan.duration_s,
        follow=True,
        window=probe_entry.window,
        probe_socket=probe_entry.probe_socket,
        nvtx_socket=probe_entry.nvtx_socket if probe_entry.has_nvtx else None,
        command=tuple(plan.words),
        job=plan.job_id,
        low_priority=True,
    )
    recorder = Recorder(recording)
    try:
        return recorder.record(lambda _: None)
    finally:
        for problem in filter(None, [*recorder.problems, recorder.run.stopped]):
            print_problem(problem)


def print_problem(problem: str) -> None:
    """Print a problem of ours."""
    print_stderr(f"perfscope: {problem}")


def print_stderr(line: str) -> None:
    """Print a line to stderr, if that can be written to."""
    from perfscope.agent.collector_guard import attempt

    attempt(lambda: print_line(line, sys.stderr))


def report_in_child(run_folder: Path, options: AnswerOptions) -> None:
    """Report in a child process: where a limit of memory ends it, the command's exit code is kept.

    Returns in both processes; `cli.main` ends the child. Raises OSError where no process can be
    started.
    """
    from perfscope.agent.job.started_command import ignore_signals

    child = os.fork()
    if child == 0:
        ignore_signals()
        limit_cpu_time()
        report_recording(run_folder, options)
        return
    try:
        _, status = os.waitpid(child, 0)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        print_problem(f"{name} ended the diagnosis; repeat it: {analyze_command(run_folder)}")


def analyze_command(run_folder: object) -> str:
    """Return the command that diagnoses a run folder, for a shell."""
    return f"perfscope analyze {shlex.quote(str(run_folder))}"


def limit_cpu_time() -> None:
    """End this process by SIGXCPU after LONGEST_REPORT_S, where no lower limit is set."""
    limit_s, most_s = resource.getrlimit(resource.RLIMIT_CPU)
    if limit_s == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_REPORT_S, most_s))


def report_recording(run_folder: Path, options: AnswerOptions) -> None:
    """Write the files that were asked for; without `--json`, print the diagnosis on stderr."""
    from perfscope.ui.terminal.diagnosis_view import show

    trace, diagnosis = load_and_diagnose(run_folder, options)
    if options.json is None:
        show(diagnosis, trace, sys.stderr, verbose=options.verbose)
    else:
        write_diagnosis(diagnosis, options.json)
    if options.html is not None:
        save(trace, diagnosis, options.html)
        print_stderr(f"wrote {options.html}")
