"""The option `--ignore ID[,ID]`, and `ignore` in the table `[tool.perfscope]` of pyproject.toml.

The nearest pyproject.toml counts: that of the working directory or of the closest folder above it.
A file that belongs to another user is not read: it could change the answer.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from perfscope.errors import UsageError
from perfscope.traces.regular_file import open_regular

PYPROJECT = "pyproject.toml"
TABLE = "[tool.perfscope]"
LARGEST_PYPROJECT_BYTES = 1 << 20


def add_ignore(parser: argparse.ArgumentParser) -> None:
    """Add `--ignore`."""
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="ID[,ID]",
        help=(
            "leave these findings out of the verdict and list them as ignored; `ignore` in"
            f" {TABLE} of {PYPROJECT} does the same"
        ),
    )


def ignored_findings(options: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the findings to ignore: those of `--ignore` and of pyproject.toml, each
    once.

    Raises UsageError for an id that no finding has, and for a pyproject.toml that cannot be read.
    """
    given = [part.strip() for option in options for part in option.split(",") if part.strip()]
    if given:
        refuse_unknown_findings(given, "--ignore")
    path = nearest_pyproject()
    configured = [] if path is None else configured_findings(path)
    return tuple(dict.fromkeys([*given, *configured]))


def refuse_unknown_findings(ids: Iterable[str], place: str) -> None:
    """Raise UsageError for the first id that no finding has, with the most similar one.

    It imports the analyzer and pandas, so it is not called where nothing is ignored.
    """
    from perfscope.analyzer.findings import RULES

    for finding_id in ids:
        if finding_id in RULES:
            continue
        similar = get_close_matches(finding_id, RULES, n=1, cutoff=0.0)
        raise UsageError(
            f"{place}: no finding has the id {finding_id!r}. Did you mean {similar[0]}?"
            " `perfscope explain` lists all ids."
        )


def nearest_pyproject() -> Path | None:
    """Return the pyproject.toml in the working directory or in the closest folder above it.

    None without such a file, and where the working directory was removed.
    """
    try:
        folder = Path.cwd()
    except OSError:
        return None
    for candidate in (folder, *folder.parents):
        path = candidate / PYPROJECT
        if path.is_file():
            return path
    return None


def configured_findings(path: Path) -> list[str]:
    """Return `ignore` of the table `[tool.perfscope]`; an empty list without it. Raises
    UsageError.
    """
    settings = perfscope_table(path)
    ids = settings.get("ignore", [])
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise UsageError(
            f"{path}: `ignore` in {TABLE} must be a list of ids, such as"
            ' ignore = ["checkpoint-stall"].'
        )
    if ids:
        refuse_unknown_findings(ids, f"{path}, {TABLE}")
    return ids


def perfscope_table(path: Path) -> dict[str, Any]:
    """Return the table `[tool.perfscope]` of a pyproject.toml, empty where there is none, and where
    the file belongs to another user. Raises UsageError.
    """
    try:
        with open_regular(path, follow_links=True) as file:
            if os.fstat(file.fileno()).st_uid not in (os.geteuid(), 0):
                return {}
            content = file.read(LARGEST_PYPROJECT_BYTES)
        text = content.decode()
    except (OSError, UnicodeDecodeError):
        return {}  # it is not for us to complain about another tool's file
    if "perfscope" not in text:
        return {}
    try:
        document = toml_parser()(text)
    except ImportError:
        raise UsageError(
            f"cannot read {TABLE} in {path}: Python 3.10 has no TOML parser. Run `pip install"
            " tomli`."
        ) from None
    except RecursionError:
        raise UsageError(
            f"cannot read {TABLE} in {path}: its values are nested too deeply"
        ) from None
    except ValueError as error:
        raise UsageError(f"cannot read {TABLE} in {path}: {error}") from None
    tools = document.get("tool", {})
    table = tools.get("perfscope", {}) if isinstance(tools, dict) else {}
    return table if isinstance(table, dict) else {}


def toml_parser() -> Any:
    """Return `loads` of the standard library's TOML parser, or of tomli on Python 3.10. Raises
    ImportError.
    """
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads
    from importlib import import_module

    return import_module("tomli").loads
