"""What may import what, beyond the floors that import-linter holds; and what a start of perfscope
costs.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house.sources import ROOT, python_files, trees

PROBE = "perfscope/agent/probe"
OLDEST_TARGET = (3, 8)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported at run time, also inside functions; what only a type checker
    sees is left out.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "importlib.import_module",
        ):
            yield ast.unparse(node)
        yield from imported(node)


def loaded(statement: str, *of: str) -> list[str]:
    """Which of these modules a fresh interpreter has loaded after one statement."""
    code = (
        f"import json, sys; {statement}; print(json.dumps([name for name in {of!r} if name in"
        " sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_probe_imports_the_standard_library_only() -> None:
    """torch, and whatever else the target has, is looked up in `sys.modules`; importing it would
    change the target.
    """
    foreign = {
        f"{name}: {module}"
        for name, tree in trees(PROBE).items()
        for module in imported(tree)
        if module.split(".")[0] not in sys.stdlib_module_names
    }
    assert foreign == set()


@pytest.mark.parametrize("name", python_files(PROBE))
def test_the_probe_is_written_in_the_python_of_its_oldest_target(name: str) -> None:
    ast.parse(python_files(PROBE)[name], name, feature_version=OLDEST_TARGET)


def test_the_check_sees_imports_inside_functions_and_in_relative_form() -> None:
    text = (
        "def f():\n    import torch\n    from . import core\nif TYPE_CHECKING:\n    import pandas"
    )
    assert list(imported(ast.parse(text))) == ["torch", "."]


def test_importing_perfscope_pulls_in_nothing_heavy() -> None:
    assert (
        loaded(
            "import perfscope",
            "pandas",
            "numpy",
            "pyarrow",
            "plotly",
            "dash",
            "torch",
            "rich",
            "psutil",
        )
        == []
    )


def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    assert loaded("import perfscope.cli", "pandas", "plotly", "dash", "torch") == []


def test_a_trace_is_begun_to_be_read_before_what_its_tables_need_is_imported() -> None:
    assert loaded("import perfscope.traces.load", "pandas", "pyarrow", "rich", "torch") == []


def test_an_answer_that_was_kept_is_shown_without_tables() -> None:
    assert (
        loaded(
            "import perfscope.ui.answer_cache, perfscope.ui.terminal.diagnosis_view",
            "pandas",
            "torch",
        )
        == []
    )


def test_recording_needs_no_tables_no_figures_and_no_torch() -> None:
    assert loaded("import perfscope.agent.recorder", "pandas", "plotly", "dash", "torch") == []


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert loaded("import psutil", "psutil", "pandas") == ["psutil"]
