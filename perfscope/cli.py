"""The command line: finds the command, runs it, and is the only place that prints errors and sets the exit code."""

import argparse
import os
import sys
from types import ModuleType

from perfscope import __version__
from perfscope.commands import COMMANDS
from perfscope.errors import PerfscopeError


def name_of(command: ModuleType) -> str:
    return command.__name__.rsplit(".", 1)[-1]


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    whole = argparse.ArgumentParser(
        prog="perfscope",
        description="Point it at a running PyTorch process and know what bounds it, what that costs and what to change.",
        epilog="exit codes: 0 done, 1 failed, 2 bad usage or unreadable input, 3 a gate was exceeded",
    )
    whole.add_argument("--version", action="version", version=f"perfscope {__version__}")
    whole.add_argument("--debug", action="store_true", help="show the traceback of an error")
    doors = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        text = command.__doc__ or ""
        door = doors.add_parser(
            name_of(command),
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        door.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
        command.add_arguments(door)
        door.set_defaults(run=command.run)
    return whole


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except PerfscopeError as error:
        if args.debug:
            raise
        print(f"perfscope: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone; say nothing at exit
        return 0
    except KeyboardInterrupt:
        print("perfscope: stopped", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
