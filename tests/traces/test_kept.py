"""What was read of a large trace is kept, found again, and never trusted."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from perfscope.traces.cache.place import table_folder
from perfscope.traces.cache.tables import keep, recalled, remove_oldest_folders
from perfscope.traces.load import load_trace
from perfscope.traces.schema import TABLES
from tests.traces.kineto.events import event, kernel, launch, written


@pytest.fixture
def trace_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    events = [
        event(ts=1, dur=90, args={"Input Dims": [[2, 3]]}),
        launch(ts=5),
        kernel(ts=20),
        event("é", ts=200),
    ]
    return written(tmp_path / "a.json", events, distributedInfo={"rank": 2, "world_size": 4})


def test_the_same_tables_come_back(trace_file: Path) -> None:
    trace = load_trace(trace_file)
    assert recalled(trace_file) is None
    keep(trace, trace_file)
    again = recalled(trace_file)
    assert again is not None and again.span_ns == trace.span_ns and again.manifest == trace.manifest
    for name in TABLES:
        one, other = trace.table(name), again.table(name)
        assert (one is None) == (other is None) and trace.why_absent(name) == again.why_absent(name)
        if one is not None:
            pd.testing.assert_frame_equal(one, other)


def test_another_file_under_the_same_name_is_read_anew(trace_file: Path) -> None:
    keep(load_trace(trace_file), trace_file)
    written(trace_file, [event("other")])
    assert recalled(trace_file) is None


def kept_in(path: Path) -> Path:
    """The folder in the cache for a trace."""
    folder = table_folder(path)
    assert folder is not None
    return folder


def test_everything_is_kept_in_the_readers_cache_folder_also_of_a_run_folder(
    trace_file: Path,
) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "perfscope" / "traces"
    assert kept_in(trace_file).parent == cache
    run = trace_file.parent / "run.perfscope"
    (run / "kineto").mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    copy = shutil.copy(trace_file, run / "kineto" / "rank0.json")
    assert kept_in(Path(copy)).parent == cache


@pytest.mark.parametrize("damage", [b"", b"ARROW1\0\0 and then nothing of the kind", None])
def test_a_damaged_one_is_as_if_it_were_not_there(trace_file: Path, damage: bytes | None) -> None:
    keep(load_trace(trace_file), trace_file)
    for file in kept_in(trace_file).iterdir():
        before = file.read_bytes()
        file.write_bytes(before[: len(before) // 2] if damage is None else damage)
        assert recalled(trace_file) is None, file.name
        file.write_bytes(before)
    assert recalled(trace_file) is not None


def test_a_place_that_cannot_be_written_costs_nothing(
    trace_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = load_trace(trace_file)
    (trace_file.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(trace_file.parent / "file"))
    keep(trace, trace_file)
    assert recalled(trace_file) is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    names = [f"{number:032x}" for number in range(3)]
    for at, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "about.json").write_bytes(bytes(100))
        os.utime(tmp_path / name, (at, at))
    remove_oldest_folders(tmp_path, most_bytes=250)
    assert sorted(one.name for one in tmp_path.iterdir()) == names[1:]
