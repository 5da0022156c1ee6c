"""The cache of diagnoses: used again for a large trace until the file or the code changes."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.cache.cache_folder import answer_file, table_folder
from perfscope.traces.load import load_trace
from perfscope.ui import answer_cache
from perfscope.ui.answer_cache import FileToRead, keep_answer, recalled_answer, remove_oldest
from tests.target_processes import perfscope
from tests.traces.kineto.events import event, kernel, launch, write_events

MANY = 140_000
"""Events of some 26 MB, for which the diagnosis is cached."""


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("kept")
    many = [event("aten::mm", ts=10 * at, dur=8, args={"note": "x" * 90}) for at in range(MANY)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield write_events(folder / "large.json", [*many, launch(ts=5), kernel(ts=20)])


def analyzed(*arguments: str) -> str:
    done = subprocess.run(
        perfscope("analyze", *arguments), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_second_diagnosis_is_the_first_without_reading_a_table(trace_file: Path) -> None:
    first, screen = analyzed(str(trace_file), "--json"), analyzed(str(trace_file))
    assert recalled_answer(trace_file) is not None
    kept = table_folder(trace_file)
    assert kept is not None
    for table in kept.iterdir():
        table.unlink()
    assert analyzed(str(trace_file), "--json") == first
    assert analyzed(str(trace_file)) == screen
    assert json.loads(first)["run"] == str(trace_file)


def test_a_diagnosis_of_other_code_or_another_file_is_not_used_again(
    trace_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyzed(str(trace_file), "--json")
    kept = recalled_answer(trace_file)
    assert kept is not None and kept.subject and kept.diagnosis.steps is not None
    place = answer_file(trace_file)
    assert place is not None
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    assert recalled_answer(trace_file) is None
    place.write_bytes(whole)
    (trace_file.parent / "rule.py").write_text("")
    monkeypatch.setattr(answer_cache, "PACKAGE", trace_file.parent)
    assert recalled_answer(trace_file) is None
    monkeypatch.undo()
    assert recalled_answer(trace_file) is not None
    os.utime(trace_file, ns=(1, 1))
    assert recalled_answer(trace_file) is None


def test_the_answer_for_a_file_that_changed_while_it_was_read_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    growing = write_events(tmp_path / "a.json", [event("aten::mm"), launch(ts=5), kernel(ts=20)])
    before, diagnosis = FileToRead.of(growing), diagnose_trace(load_trace(growing))
    write_events(growing, [event("aten::mm"), launch(ts=5), kernel(ts=20), event("other", ts=90)])
    keep_answer(before, [], diagnosis)
    assert recalled_answer(growing) is None
    keep_answer(FileToRead.of(growing), [], diagnosis)
    assert recalled_answer(growing) is not None


def test_a_small_trace_is_not_cached(tmp_path: Path, trace_file: Path) -> None:
    small = write_events(tmp_path / "small.json", [event("aten::mm"), launch(ts=5), kernel(ts=20)])
    analyzed(str(small))
    answer, tables = answer_file(small), table_folder(small)
    assert answer is not None and tables is not None
    assert not answer.exists() and not tables.exists()


def test_the_diagnosis_used_longest_ago_is_removed_first(tmp_path: Path) -> None:
    names = [f"{number:032x}.json" for number in range(3)]
    for at, name in enumerate([*names, "other.json"]):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (at, at))
    remove_oldest(tmp_path, most=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == [*names[1:], "other.json"]
