"""The files of the repository, read once, for the tests of its conventions."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import perfscope

PACKAGE = Path(perfscope.__file__).parent
ROOT = PACKAGE.parent
FOLDERS = ("perfscope", "tests", "benchmarks", "sample_workloads", "docs")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def python_files(*folders: str) -> dict[str, str]:
    """Return path from the root -> text, of every Python file in these folders."""
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in found}


@cache
def trees(*folders: str) -> dict[str, ast.Module]:
    """Return path from the root -> syntax tree, of every Python file in these folders."""
    return {name: ast.parse(text) for name, text in python_files(*folders).items()}


def functions(*folders: str) -> Iterator[tuple[str, Function]]:
    """Yield every function and method, nested ones too, as (FILE:NAME, node)."""
    for name, tree in trees(*folders).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}:{node.name}", node


def line_count(node: Function) -> int:
    """Return the number of lines from `def` to the last statement."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def modules(folder: str) -> set[str]:
    """Return the names of the modules in one folder of the package."""
    return {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}


def last_name(module: object) -> str:
    """Return the last part of a module's dotted name."""
    return str(getattr(module, "__name__", "")).rsplit(".", 1)[-1]


@cache
def kept_files() -> tuple[Path, ...]:
    """Return the files that git tracks or would add; outside a checkout, every source file."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return tuple(path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file())
    return tuple(
        path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"
    )
