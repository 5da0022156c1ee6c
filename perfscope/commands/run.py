"""Start a command and record it from its first step to its end: `perfscope run -- python train.py`,
also under torchrun.

Its input, output, signals and exit code are its own; what is found is said on stderr when it has
ended.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.commands.attach import DepthArguments, add_depth_arguments, asked_window, seconds
from perfscope.errors import UsageError
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.agent.profiler_windows.window import Window


@dataclass(frozen=True)
class RunArguments(DepthArguments):
    """The arguments of `perfscope run`; `duration` is in seconds."""

    words: list[str]
    duration: float | None
    out: Path | None
    json: Path | None
    html: Path | None


ARGUMENTS = RunArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "perfscope run [options] [--] COMMAND [ARGUMENT ...]"
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments"
    )
    parser.add_argument(
        "--duration", type=seconds, metavar="S", help="record this long, not to the command's end"
    )
    add_depth_arguments(parser)
    parser.set_defaults(follow=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the run folder")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the diagnosis as JSON; `-`: to stdout, after the command's end",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report")


def run(args: RunArguments) -> int:
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words:
        raise UsageError("no command to run; give one after `--`: perfscope run -- python train.py")
    asked = asked_window(args)
    for path in (args.html, args.json):
        if path is not None and not path.resolve().parent.is_dir():
            raise UsageError(
                f"no folder {path.resolve().parent} for {path.name}; make it or name another file"
            )
    return run_recorded(words, args, args.out or default_folder(words[0]), asked)


def default_folder(program: str) -> Path:
    """`perfscope-PROGRAM-HHMMSS.perfscope` in the working directory; of several ranks started so
    each has its own.
    """
    from perfscope.agent.job.roles import said_place

    rank = said_place(os.environ, "RANK")
    of_rank = f"-rank{rank}" if rank >= 0 else ""
    return Path(f"perfscope-{Path(program).name}-{time.strftime('%H%M%S')}{of_rank}.perfscope")


def run_recorded(words: list[str], args: RunArguments, out: Path, asked: "Window") -> int:
    """Run the command and record it; returns the command's exit code.

    Whatever goes wrong on our side is reported and changes nothing for the command: it is waited
    for, gets the signals that are sent to us, and its exit code is ours. Raises UsageError where
    the command cannot be started.
    """
    from perfscope.agent.collector_guard import Failure, attempt
    from perfscope.agent.started_command import StartedCommand, ignore_signals

    probe_entry = attempt(lambda: ProbeEntry(args.depth, asked))
    if isinstance(probe_entry, Failure):
        print_problem(f"not recorded: {probe_entry.reason}")
        return StartedCommand(words, dict(os.environ)).wait()
    try:
        command = StartedCommand(words, probe_entry.environment)
        found = attempt(lambda: record_command(command.pid, words, args, out, probe_entry))
        if isinstance(found, Failure):
            print_problem(f"not recorded: {found.reason}")
            attempt(probe_entry.stop_listening)
        code = command.wait()
    finally:
        attempt(probe_entry.remove_files)
    try:
        command.release_signals()
        told = attempt(lambda: print_diagnosis(found, args)) if isinstance(found, Path) else None
        if isinstance(told, Failure):
            print_problem(told.reason)
    except KeyboardInterrupt:
        print_problem(f"the diagnosis was stopped; `perfscope analyze {found}` repeats it")
    finally:
        ignore_signals()
    return code


class ProbeEntry:
    """How probes get into the command: the sockets that they connect to and the environment that
    brings them along.
    """

    def __init__(self, depth: str, window: "Window") -> None:
        """Raises OSError where there is no room for the files, or no socket."""
        from perfscope.agent.delivery.probe_socket import open_probe_socket
        from perfscope.agent.delivery.start_folder import nvtx_environment, start_folder

        self.window = window
        self.nvtx_door = open_probe_socket()
        nvtx = nvtx_environment(self.nvtx_door)
        self.has_nvtx = bool(nvtx)
        self.door = replace(open_probe_socket(), nvtx="injected" if nvtx else None)
        self.folder = ExitStack()
        entered = start_folder(self.door, window if depth == "kernels" else None, nvtx)
        self.environment = self.folder.enter_context(entered)

    def stop_listening(self) -> None:
        """Stop listening: probes that come find nobody, and leave."""
        self.door.listening.close()
        self.nvtx_door.listening.close()

    def remove_files(self) -> None:
        """Remove the files."""
        self.folder.close()


def record_command(
    pid: int, words: list[str], args: RunArguments, out: Path, probe_entry: ProbeEntry
) -> Path:
    """Record until the command ends; returns where the run folder is. Raises PerfscopeError where
    that is impossible.
    """
    from perfscope.agent.recorder import Plan, Recorder

    plan = Plan(
        pid,
        out,
        args.depth,
        args.duration,
        follow=True,
        window=probe_entry.window,
        door=probe_entry.door,
        nvtx_door=probe_entry.nvtx_door if probe_entry.has_nvtx else None,
        command=tuple(words),
        job=args.job_id,
        gently=True,
    )
    recorder = Recorder(plan)
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

    if sys.stderr is not None:
        attempt(lambda: print_line(line, sys.stderr))


def print_diagnosis(out: Path, args: RunArguments) -> None:
    """Say what was found: on stderr, unless it was asked for as JSON."""
    from perfscope.ui.answer import diagnosed, encoded, save
    from perfscope.ui.output_file import write_output
    from perfscope.ui.terminal.diagnosis_view import show

    trace, diagnosis = diagnosed(out)
    if args.json is None:
        show(diagnosis, trace, sys.stderr)
    elif str(args.json) == "-":
        print_to_stdout(encoded(diagnosis))
    else:
        write_output(args.json, encoded(diagnosis) + "\n")
    if args.html is not None:
        save(trace, diagnosis, args.html)
        print_stderr(f"wrote {args.html}")


def print_to_stdout(text: str) -> None:
    """Print and flush. Raises OSError, after which stdout leads nowhere: nothing is left to fail at
    exit.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        leave_stdout()
    except OSError:
        leave_stdout()
        raise


def leave_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
