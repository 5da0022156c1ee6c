"""Lists of findings, commands, readers and so on: complete, and named like their files."""

import ast
import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import grimp
import pytest

from perfscope.agent.collectors import COLLECTORS
from perfscope.agent.delivery.probe_bundle import NAMES
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from perfscope.analyzer.rule import DOCUMENTATION_HEADINGS, Rule
from perfscope.commands import COMMANDS
from perfscope.commands.export import FORMATS
from perfscope.traces.reader import Reader
from perfscope.traces.readers import READERS
from perfscope.traces.writer import Writer
from perfscope.traces.writers import WRITERS
from perfscope.ui.dashboard.pages import PAGES
from tests.conventions.sources import last_name, modules, trees


@pytest.mark.parametrize(
    ("folder", "listed"),
    [
        ("analyzer/input/causes", CAUSES),
        ("commands", COMMANDS),
        ("ui/dashboard/pages", [sys.modules[page.module] for page in PAGES]),
    ],
)
def test_every_file_of_a_folder_is_in_its_tuple_once(
    folder: str, listed: Sequence[ModuleType]
) -> None:
    assert sorted(modules(folder)) == sorted(last_name(module) for module in listed)


@pytest.mark.parametrize(
    ("folder", "declared"), [("traces/readers", READERS), ("traces/writers", WRITERS)]
)
def test_every_reader_and_writer_is_in_its_tuple_under_the_name_of_its_file(
    folder: str, declared: tuple[Reader | Writer, ...]
) -> None:
    assert sorted(modules(folder)) == sorted(item.name for item in declared)


def test_every_finding_of_a_subject_is_listed_once() -> None:
    """A file is a finding when it has a `RULE`."""
    files = {
        name.removeprefix("perfscope/").removesuffix(".py").replace("/", ".")
        for name, tree in trees("perfscope/analyzer").items()
        if any(
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RULE"
            for node in tree.body
        )
    }
    assert sorted(files) == sorted(rule.module.removeprefix("perfscope.") for rule in FINDINGS)


def test_no_finding_imports_another() -> None:
    """Neither directly nor through another module."""
    listed, imports = {rule.module for rule in FINDINGS}, grimp.build_graph("perfscope")
    assert {module: imports.find_upstream_modules(module) & listed for module in listed} == {
        module: set() for module in listed
    }


def test_the_check_of_imports_finds_an_import() -> None:
    imports = grimp.build_graph("perfscope")
    assert "perfscope.analyzer.input.input_bound" in imports.find_upstream_modules(
        "perfscope.analyzer.input.what_if"
    )


def test_every_collector_is_listed() -> None:
    assert modules("agent/collectors") == {
        collector.__module__.rsplit(".", 1)[-1] for collector in COLLECTORS
    }


def test_every_part_of_the_probe_is_sent() -> None:
    assert modules("agent/probe") == set(NAMES)


@pytest.mark.parametrize("rule", FINDINGS, ids=lambda rule: rule.id)
def test_a_rule_is_documented_in_the_file_named_after_it(rule: Rule) -> None:
    assert rule.module.rsplit(".", 1)[-1].replace("_", "-") == rule.id
    at = [rule.documentation.find(f"\n{heading}\n") for heading in DOCUMENTATION_HEADINGS]
    assert at[0] > 0 and at == sorted(at), (
        "the docstring is the user's documentation, under four headings"
    )


@pytest.mark.parametrize(
    "wrong", [{"id": "Gc_Pause"}, {"needs": ("gone",)}, {"category": "gone"}], ids=str
)
def test_a_rule_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rule "):
        replace(FINDINGS[0], **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", CAUSES, ids=last_name)
def test_a_cause_is_complete(cause: ModuleType) -> None:
    assert last_name(cause).replace("_", "-") == cause.CAUSE
    assert cause.__doc__


@pytest.mark.parametrize("command", COMMANDS, ids=last_name)
def test_a_command_is_complete(command: ModuleType) -> None:
    assert command.__doc__ and {"ARGUMENTS", "add_arguments", "run"} <= set(vars(command))
    assert inspect.get_annotations(command.run, eval_str=True)["args"] is command.ARGUMENTS


def test_every_offered_format_has_a_writer() -> None:
    assert [writer.name for writer in WRITERS] == list(FORMATS)
