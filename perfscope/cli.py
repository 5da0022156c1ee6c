"""The command line: finds the command, runs it, and is the only place that prints errors and sets
the exit code.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import sys
from types import ModuleType
from typing import Any, NoReturn

from perfscope import __version__
from perfscope.commands import COMMANDS
from perfscope.errors import PerfscopeError
from perfscope.traces.secret_masking import mask_text
from perfscope.ui.terminal.output import one_line, print_line, protect_streams


class OneLine(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the usage is."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.color = (
            False  # of Python 3.14: escape sequences, which the filter on our streams would replace
        )

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments") and "--json" in sys.argv:
            message += " (`--json` prints to stdout: `--json > FILE`)"
        self.exit(2, one_line(f"perfscope: {message}. See `{self.prog} --help`.") + "\n")


def name_of(command: ModuleType) -> str:
    return command.__name__.rsplit(".", 1)[-1]


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    whole = OneLine(
        prog="perfscope",
        description=(
            "Point it at a running PyTorch process and know what bounds it, what that costs and"
            " what to change."
        ),
        epilog=(
            "exit codes: 0 done, 1 failed, 2 bad usage or unreadable input, 3 a gate was exceeded"
        ),
    )
    whole.add_argument("--version", action="version", version=f"perfscope {__version__}")
    whole.add_argument("--debug", action="store_true", help="show the traceback of an error")
    doors = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        text = command.__doc__ or ""
        door = doors.add_parser(
            name_of(command),
            help=" ".join(text.split("\n\n")[0].split()),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        door.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )
        command.add_arguments(door)
        door.set_defaults(module=command)
    return whole


def typed(parsed: argparse.Namespace) -> Any:
    """Return the arguments of a command as the dataclass that its module names, so that mypy knows
    their types.
    """
    kind = parsed.module.ARGUMENTS
    return kind(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(kind)})


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    A child that the command forked ends here: the threads that a usual exit waits for are its
    parent's, and so is what it would remove.
    """
    pid = os.getpid()
    code = run_command(argv)
    if os.getpid() != pid:
        flush_and_end(code)
    return code


def flush_and_end(code: int) -> None:
    """End this process at once, with what it has printed so far."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):  # closed by who reads it, or by us
            stream.flush()
    os._exit(code)


def run_command(argv: list[str] | None) -> int:
    """Run one command and print its error; returns the exit code."""
    write_what_can_be_written()
    protect_streams()
    args = parser().parse_args(argv)
    try:
        code: int = args.module.run(typed(args))
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        forget_output()  # whoever read us has gone; say nothing at exit
        return 0
    except KeyboardInterrupt:
        print_line("perfscope: stopped", sys.stderr)
        return 1
    except (PerfscopeError, OSError) as error:
        if args.debug:
            raise
        if isinstance(error, OSError):
            forget_output()
        print_line(
            f"perfscope: {mask_text(told(error))}", sys.stderr
        )  # it may quote a command line
        return error.exit_code if isinstance(error, PerfscopeError) else 1


def told(error: PerfscopeError | OSError) -> str:
    """The one line of an error; the system's own says at least which file."""
    if isinstance(error, PerfscopeError):
        return str(error)
    about = f"{error.filename}: " if error.filename is not None else ""
    return f"{about}{error.strerror or error}; `--debug` shows where"


def write_what_can_be_written() -> None:
    """A character that the terminal's encoding lacks becomes a question mark, not an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def forget_output() -> None:
    """What could not be written to stdout is not tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
