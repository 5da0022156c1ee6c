"""Rare but permitted uses of NVTX: names in a forked child, NULL texts, calls of an ending
thread.
"""

from pathlib import Path

import pytest

from tests.agent.nvtx.building import compile_program, need_library
from tests.agent.nvtx.test_injection import record_ranges


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    need_library()
    return str(compile_program(tmp_path_factory.mktemp("hostile"), "hostile.c"))


def test_names_that_a_forked_child_registers_are_not_given_to_its_parents_ranges(
    program: str, tmp_path: Path
) -> None:
    found, output = record_ranges(tmp_path, program, "child")
    assert output == "child\n"
    assert sorted(found["name"]) == ["first", *["name of the parent"] * 5]


def test_null_texts_do_not_crash_the_program(program: str, tmp_path: Path) -> None:
    found, output = record_ranges(tmp_path, program, "nulls")
    assert output == "nulls\n"
    assert set(found["name"]) == {"(other names)"} and len(found) == 5


def test_calls_after_the_stack_of_a_thread_was_freed_are_recorded(
    program: str, tmp_path: Path
) -> None:
    found, output = record_ranges(tmp_path, program, "late")
    assert output == "late\n"
    counts = found["name"].value_counts()
    assert counts["in a thread"] == 50 and counts["in a destructor"] == 50
