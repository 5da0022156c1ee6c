"""The option `--json[=FILE]`: alone it prints the diagnosis on stdout, with `=FILE` it writes it to
a file.

FILE is taken only after `=`, so that `--json PATH` never takes the path that the command needs.
argparse cannot express this, so a `--json` without `=` is rewritten before argparse sees it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfscope.ui.answer import STDOUT

OPTION = "--json"
BARE = f"{OPTION}=\0"
"""How a `--json` without `=` is passed to argparse. No argument of a process can hold a NUL."""


class JsonOutput(argparse.Action):
    """Stores where the JSON goes: a file, or `STDOUT`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        target = str(values)
        if not target:
            raise argparse.ArgumentError(self, "no file after `=`: write `--json=FILE`")
        setattr(namespace, self.dest, STDOUT if target == "\0" else Path(target))


class JsonFile(JsonOutput):
    """Stores the file that the JSON goes to; stdout belongs to the command that is run."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if values in ("\0", "-"):
            raise argparse.ArgumentError(
                self, "stdout belongs to the command that is run: write `--json=FILE`"
            )
        super().__call__(parser, namespace, values, option_string)


class JsonOptionHelp(argparse.RawDescriptionHelpFormatter):
    """Help with `--json[=FILE]`: argparse puts a space before the value of an option."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return without_space(super()._format_action_invocation(action))

    def format_help(self) -> str:
        return without_space(super().format_help())


def without_space(text: str) -> str:
    """Return the text without the space between `--json` and its value."""
    return text.replace(f"{OPTION} [=", f"{OPTION}[=").replace(f"{OPTION} =", f"{OPTION}=")


def add_json_output(parser: argparse.ArgumentParser) -> None:
    """Add `--json[=FILE]`."""
    parser.add_argument(
        OPTION,
        action=JsonOutput,
        metavar="[=FILE]",
        help=(
            "print the diagnosis as JSON, and nothing else, on stdout; with `=FILE`, write it to"
            " FILE"
        ),
    )


def add_json_file(parser: argparse.ArgumentParser) -> None:
    """Add `--json=FILE`, for a command that leaves stdout to another program."""
    parser.add_argument(
        OPTION,
        action=JsonFile,
        metavar="=FILE",
        help="write the diagnosis as JSON to FILE",
    )


def takes_json_output(parser: argparse.ArgumentParser) -> bool:
    """Return whether the parser has the option `--json[=FILE]`."""
    return any(isinstance(action, JsonOutput) for action in parser._actions)


def rewrite_bare_json(words: Sequence[str]) -> list[str]:
    """Return the command line with each `--json` that has no `=FILE` rewritten for argparse."""
    return [BARE if word == OPTION else word for word in words]


def restore_bare_json(namespace: argparse.Namespace) -> None:
    """Undo `rewrite_bare_json` in the words that belong to another program's command line."""
    for name, value in vars(namespace).items():
        if isinstance(value, list):
            words = [OPTION if word == BARE else word for word in value]
            setattr(namespace, name, words)
