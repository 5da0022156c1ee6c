"""Start a command and record it from its first step to its end: `perfscope run -- python train.py`, also under torchrun.

Its input, output, signals and exit code are its own; what is found is said on stderr when it has ended.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.commands.attach import DepthArguments, add_depth_arguments, asked_window, seconds
from perfscope.errors import PerfscopeError, UsageError
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
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments")
    parser.add_argument("--duration", type=seconds, metavar="S", help="record this long, not to the command's end")
    add_depth_arguments(parser)
    parser.set_defaults(follow=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the run folder")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the diagnosis as JSON; `-`: to stdout, after the command's end"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report")


def run(args: RunArguments) -> int:
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words:
        raise UsageError("no command to run; give one after `--`: perfscope run -- python train.py")
    asked = asked_window(args)
    for path in (args.html, args.json):
        if path is not None and not path.resolve().parent.is_dir():
            raise UsageError(f"no folder {path.resolve().parent} for {path.name}; make it or name another file")
    return recorded(words, args, args.out or default_folder(words[0]), asked)


def default_folder(program: str) -> Path:
    """`perfscope-PROGRAM-HHMMSS.perfscope` in the working directory; of several ranks started so each has its own."""
    from perfscope.agent.job.roles import said_place

    rank = said_place(os.environ, "RANK")
    of_rank = f"-rank{rank}" if rank >= 0 else ""
    return Path(f"perfscope-{Path(program).name}-{time.strftime('%H%M%S')}{of_rank}.perfscope")


def recorded(words: list[str], args: RunArguments, out: Path, asked: "Window") -> int:
    """The command's exit code; what goes wrong on our side is told and changes nothing for it."""
    from perfscope.agent.delivery.probe_socket import open_door
    from perfscope.agent.delivery.start_folder import nvtx_environment, start_folder
    from perfscope.agent.recorder import Plan, Recorder
    from perfscope.agent.started_command import StartedCommand

    nvtx_door = open_door()
    nvtx = nvtx_environment(nvtx_door)
    door = replace(open_door(), nvtx="injected" if nvtx else None)
    windowed = args.depth == "kernels"
    with start_folder(door, asked if windowed else None, nvtx) as environment:
        command = StartedCommand(words, environment)
        try:
            plan = Plan(
                command.pid,
                out,
                args.depth,
                args.duration,
                follow=True,
                window=asked,
                door=door,
                nvtx_door=nvtx_door if nvtx else None,
                command=tuple(words),
                job=args.job_id,
            )
            Recorder(plan).record(lambda _: None)
        except (PerfscopeError, OSError) as error:
            print(f"perfscope: not recorded: {error}", file=sys.stderr)
            return command.wait()
        code = command.wait()
    tell(out, args)
    return code


def tell(out: Path, args: RunArguments) -> None:
    """Say what was found: on stderr, unless it was asked for as JSON."""
    from perfscope.ui.answer import diagnosed, encoded, save
    from perfscope.ui.terminal.diagnosis_view import show

    trace, diagnosis = diagnosed(out)
    if args.json is None:
        show(diagnosis, trace, sys.stderr)
    elif str(args.json) == "-":
        print(encoded(diagnosis))
    else:
        args.json.write_text(encoded(diagnosis) + "\n")
    if args.html is not None:
        save(trace, diagnosis, args.html)
        print_line(f"wrote {args.html}", sys.stderr)
