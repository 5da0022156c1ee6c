"""Imports that import-linter does not check: of the probe, and at the start of each command."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from perfscope.agent.delivery.probe_bundle import NAMES
from tests.conventions.sources import ROOT, python_files, trees

PROBE = "perfscope/agent/probe"
OLDEST_TARGET = (3, 8)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module imported at runtime, also inside functions, but not for types only."""
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


def loaded(statement: str, *modules: str) -> list[str]:
    """Return which of these modules a new interpreter has loaded after one statement."""
    code = (
        f"import json, sys; {statement}; print(json.dumps([name for name in {modules!r} if name in"
        " sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_probe_imports_the_standard_library_only() -> None:
    """The probe finds torch in `sys.modules`; importing a package would change the target."""
    foreign = {
        f"{name}: {module}"
        for name, tree in trees(PROBE).items()
        for module in imported(tree)
        if module.split(".")[0] not in sys.stdlib_module_names
    }
    assert foreign == set()


@pytest.mark.parametrize("name", python_files(PROBE))
def test_the_probe_parses_in_the_oldest_supported_python(name: str) -> None:
    ast.parse(python_files(PROBE)[name], name, feature_version=OLDEST_TARGET)


def test_the_probe_finds_its_other_files_by_their_names() -> None:
    used = {
        ast.literal_eval(node.slice)
        for tree in trees(PROBE).values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "MODULES"
    }
    assert used
    assert used <= set(NAMES)


def test_the_check_finds_nested_and_relative_imports() -> None:
    text = (
        "def f():\n    import torch\n    from . import core\nif TYPE_CHECKING:\n    import pandas"
    )
    assert list(imported(ast.parse(text))) == ["torch", "."]


def test_importing_perfscope_loads_no_large_package() -> None:
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


def test_the_command_line_starts_without_packages_of_single_commands() -> None:
    heavy = ("pandas", "numpy", "pyarrow", "msgspec", "rich", "plotly", "dash", "torch")
    assert loaded("import perfscope.cli", *heavy) == []


def test_a_recording_without_ignored_findings_starts_without_the_analyzer() -> None:
    code = "from perfscope.commands.options.ignored_findings import ignored_findings as of; of([])"
    assert loaded(code, "pandas", "perfscope.analyzer.findings") == []


def test_reading_a_trace_starts_before_pandas_is_imported() -> None:
    assert loaded("import perfscope.traces.load", "pandas", "pyarrow", "rich", "torch") == []


def test_a_cached_diagnosis_is_shown_without_pandas() -> None:
    assert (
        loaded(
            "import perfscope.ui.answer_cache, perfscope.ui.terminal.diagnosis_view",
            "pandas",
            "torch",
        )
        == []
    )


def test_recording_loads_no_pandas_plotly_or_torch() -> None:
    heavy = ("pandas", "plotly", "dash", "torch")
    assert loaded("import perfscope.agent.recording.recorder", *heavy) == []


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert loaded("import psutil", "psutil", "pandas") == ["psutil"]
