"""The house rules that a tool can hold."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfscope
from perfscope.agent.collectors import COLLECTORS
from perfscope.agent.probe_bundle import PARTS
from perfscope.analyzer.findings import FINDINGS
from perfscope.commands import COMMANDS
from perfscope.traces.readers import READERS

PACKAGE = Path(perfscope.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
BROAD_ALLOWED = {"analyzer/engine.py", "agent/entry/__init__.py", "agent/entry/by_ptrace.py", "agent/entry/visitor.py"}
BAD_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in FILES:
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def lines(path: Path) -> int:
    return path.read_text().count("\n")


def test_no_file_is_longer_than_400_lines_and_half_are_under_120() -> None:
    assert [str(path) for path in FILES if lines(path) > 400] == []
    assert statistics.median(lines(path) for path in FILES if lines(path) > 1) <= 120


def test_no_function_is_longer_than_80_lines() -> None:
    long = [
        f"{name}:{node.name}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno > 80
    ]
    assert long == []


def test_broad_except_only_where_it_is_allowed() -> None:
    broad = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
    }
    assert broad <= BROAD_ALLOWED


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in FILES if path.stem in BAD_NAMES] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [name for name, tree in trees() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


@pytest.mark.parametrize(
    ("folder", "listed", "beside"),
    [
        ("analyzer/findings", FINDINGS, set()),
        ("commands", COMMANDS, set()),
        ("traces/readers", READERS, set()),
    ],
)
def test_every_file_of_a_folder_is_in_its_tuple(folder: str, listed: tuple[object, ...], beside: set[str]) -> None:
    files = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"} - beside
    assert files == {str(getattr(one, "__name__", "")).rsplit(".", 1)[-1] for one in listed}


def test_every_collector_is_listed() -> None:
    files = {path.stem for path in (PACKAGE / "agent/collectors").glob("*.py")} - {"__init__"}
    assert files == {one.__module__.rsplit(".", 1)[-1] for one in COLLECTORS}


def test_every_part_of_the_probe_is_sent() -> None:
    files = {path.stem for path in (PACKAGE / "agent/probe").glob("*.py")} - {"__init__", "core"}
    assert files == set(PARTS)


def test_the_probe_imports_the_standard_library_only() -> None:
    foreign = set()
    for path in (PACKAGE / "agent/probe").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign |= {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == set()


def test_importing_perfscope_pulls_in_nothing_heavy() -> None:
    code = "import sys, perfscope; print([n for n in ('pandas','plotly','dash','torch','numpy','pyarrow') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_recording_pulls_in_neither_pandas_nor_torch() -> None:
    code = "import sys, perfscope.agent.recorder; print([n for n in ('pandas','plotly','dash','torch') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_no_text_names_the_other_distribution_or_a_path_of_a_developers_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.split("\n")
    wrong = []
    for name in filter(None, tracked):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".html", "") and path.is_file():
            text = path.read_text("utf-8", "replace")
            bad = [text.find(f"pip install {perfscope.__name__} "), text.find("/" + "work/"), text.find("/" + "root/.")]
            wrong += [name] if max(bad) >= 0 else []
    assert wrong == []
