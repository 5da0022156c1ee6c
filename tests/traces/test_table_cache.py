"""Cached tables of large traces: the same tables are read again, and damaged ones are ignored."""

import os
import shutil
from pathlib import Path

import pytest

from perfscope.traces.cache.cache_folder import key_before_reading, table_folder
from perfscope.traces.cache.tables import keep, recalled, remove_oldest_folders
from perfscope.traces.load import load_trace
from tests.traces.comparison import assert_same_tables
from tests.traces.kineto.events import event, kernel, launch, write_events


@pytest.fixture
def trace_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    events = [
        event(ts=1, dur=90, args={"Input Dims": [[2, 3]]}),
        launch(ts=5),
        kernel(ts=20),
        event("é", ts=200),
    ]
    return write_events(tmp_path / "a.json", events, distributedInfo={"rank": 2, "world_size": 4})


def test_cached_tables_are_those_of_the_trace(trace_file: Path) -> None:
    trace = load_trace(trace_file)
    assert recalled(trace_file) is None
    keep(trace, trace_file, key_before_reading(trace_file))
    again = recalled(trace_file)
    assert again is not None and again.span_ns == trace.span_ns and again.manifest == trace.manifest
    assert_same_tables(trace, again)


def test_a_file_that_changed_while_it_was_read_is_not_cached(trace_file: Path) -> None:
    key, trace = key_before_reading(trace_file), load_trace(trace_file)
    write_events(trace_file, [event("other")])
    keep(trace, trace_file, key)
    assert recalled(trace_file) is None
    keep(trace, trace_file, None)
    assert recalled(trace_file) is None


def test_another_file_of_the_same_name_is_read_again(trace_file: Path) -> None:
    keep(load_trace(trace_file), trace_file, key_before_reading(trace_file))
    write_events(trace_file, [event("other")])
    assert recalled(trace_file) is None


def cache_folder_of(path: Path) -> Path:
    """Return the folder of a trace in the cache."""
    folder = table_folder(path)
    assert folder is not None
    return folder


def test_traces_in_run_folders_are_cached_in_the_users_cache_folder(
    trace_file: Path,
) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "perfscope" / "traces"
    assert cache_folder_of(trace_file).parent == cache
    run = trace_file.parent / "run.perfscope"
    (run / "kineto").mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    copy = shutil.copy(trace_file, run / "kineto" / "rank0.json")
    assert cache_folder_of(Path(copy)).parent == cache


@pytest.mark.parametrize("damage", [b"", b"ARROW1\0\0 and then nothing of the kind", None])
def test_damaged_tables_in_the_cache_are_ignored(trace_file: Path, damage: bytes | None) -> None:
    keep(load_trace(trace_file), trace_file, key_before_reading(trace_file))
    for file in cache_folder_of(trace_file).iterdir():
        before = file.read_bytes()
        file.write_bytes(before[: len(before) // 2] if damage is None else damage)
        assert recalled(trace_file) is None, file.name
        file.write_bytes(before)
    assert recalled(trace_file) is not None


def test_a_cache_folder_that_cannot_be_written_is_ignored(
    trace_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = load_trace(trace_file)
    (trace_file.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(trace_file.parent / "file"))
    keep(trace, trace_file, key_before_reading(trace_file))
    assert recalled(trace_file) is None


def test_the_folder_used_longest_ago_is_removed_first(tmp_path: Path) -> None:
    names = [f"{number:032x}" for number in range(3)]
    for at, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "about.json").write_bytes(bytes(100))
        os.utime(tmp_path / name, (at, at))
    remove_oldest_folders(tmp_path, most_bytes=250)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == names[1:]
