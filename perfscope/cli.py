"""The command line: finds the command, runs it, and is the only place that prints errors and sets
the exit code.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from perfscope import __version__
from perfscope.commands import COMMANDS
from perfscope.commands.options.json_output import (
    BARE,
    OPTION,
    JsonOptionHelp,
    restore_bare_json,
    rewrite_bare_json,
    takes_json_output,
)
from perfscope.errors import PerfscopeError
from perfscope.ui.terminal.output import one_line, print_line, protect_streams

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 plus the number of SIGINT, as shells count."""
EXIT_CODES = """\
exit codes:
  0    done, whatever the verdict
  1    failed; for `doctor`: a check failed
  2    bad usage, or input that cannot be read
  3, 4 reserved
  130  interrupted before anything was printed
`perfscope run` exits with the code of its command.
"""


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line and name the help to read."""

    def __init__(self, *positional: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*positional, **options)
        # Python 3.14 colors the help with escape sequences. perfscope's streams replace their first
        # character.
        self.color = False

    def parse_known_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; `--json` takes a file only after `=`."""
        if not takes_json_output(self):
            return super().parse_known_args(args, namespace)
        words = rewrite_bare_json(sys.argv[1:] if args is None else args)
        parsed, unknown = super().parse_known_args(words, namespace)
        restore_bare_json(parsed)
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        text = message.replace(BARE, OPTION)
        if text.startswith("unrecognized arguments") and "--json" in sys.argv:
            text += " (write `--json=FILE` to name a file)"
        from perfscope.traces.privacy.secret_masking import mask_secrets

        text = " ".join(mask_secrets(text.split(" ")))  # it quotes the command line
        self.exit(2, one_line(f"perfscope: {text}. See `{self.prog} --help`.") + "\n")


def name_of(command: ModuleType) -> str:
    """Return the name under which a command is called."""
    return command.__name__.rsplit(".", 1)[-1]


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their arguments."""
    top_parser = CommandParser(
        prog="perfscope",
        description=(
            "Find out what limits a running PyTorch process, what that costs, and how to fix it."
        ),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top_parser.add_argument("--version", action="version", version=f"perfscope {__version__}")
    top_parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    subparsers = top_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        add_command(subparsers, command)
    return top_parser


def add_command(
    subparsers: "argparse._SubParsersAction[CommandParser]", command: ModuleType
) -> None:
    """Add the parser of one command; its docstring is its help."""
    description = command.__doc__ or ""
    first_paragraph = description.split("\n\n")[0]
    command_parser = subparsers.add_parser(
        name_of(command),
        help=" ".join(first_paragraph.split()),
        description=description,
        formatter_class=JsonOptionHelp,
    )
    command_parser.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print the traceback of an error",
    )
    command.add_arguments(command_parser)
    command_parser.set_defaults(module=command)


def arguments_of_command(parsed: argparse.Namespace) -> Any:
    """Return the parsed arguments as the dataclass of their command."""
    kind = parsed.module.ARGUMENTS
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(kind)}
    return kind(**values)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    A child process that the command forked ends here. It must not wait for its parent's threads at
    exit, nor remove its parent's files.
    """
    pid = os.getpid()
    code = run_command(argv)
    if os.getpid() != pid:
        flush_and_end(code)
    return code


def flush_and_end(code: int) -> None:
    """End this process at once, after what it has printed so far is written."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # The stream may have been closed, at either end.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run_command(argv: list[str] | None) -> int:
    """Run one command, print its error, and return its exit code."""
    replace_unprintable_characters()
    protect_streams()
    args = parser().parse_args(argv)
    try:
        code: int = args.module.run(arguments_of_command(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_output()  # the reader of our output has ended; print no error at exit
        return 0
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except (PerfscopeError, OSError) as error:
        if args.debug:
            raise
        if isinstance(error, OSError):
            discard_output()  # it may be what failed, and would fail again at exit
        from perfscope.traces.privacy.secret_masking import mask_text

        print_error(mask_text(message_of(error)))  # it may quote a command line
        return error.exit_code if isinstance(error, PerfscopeError) else 1
    except (MemoryError, ImportError) as error:
        if args.debug:
            raise
        print_error(missing_message(error))
        return 1


def missing_message(error: MemoryError | ImportError) -> str:
    """Return the line to print where memory or a library is missing. A library that cannot be
    mapped for lack of memory raises ImportError as well.
    """
    if isinstance(error, MemoryError):
        return "there is not enough memory for this. Free some, or raise the limit (ulimit -v)."
    name = error.name.partition(".")[0] if error.name else "a library"
    return f"cannot import {name}: {error}. Reinstall it; `--debug` prints the traceback."


def print_error(message: str) -> None:
    """Print an error as one line."""
    print_line(f"perfscope: {message}", sys.stderr)


def message_of(error: PerfscopeError | OSError) -> str:
    """Return the line to print for an error; for one of the operating system, with its file."""
    if isinstance(error, PerfscopeError):
        return str(error)
    file = f"{error.filename}: " if error.filename is not None else ""
    return f"{file}{error.strerror or error}; `--debug` prints the traceback"


def replace_unprintable_characters() -> None:
    """Make a character that the terminal's encoding lacks a question mark instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def discard_output() -> None:
    """Discard what could not be written to stdout, so that Python does not try again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
