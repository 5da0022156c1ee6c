"""The cache of a reader: nothing is written to or deleted from a folder of another user."""

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from perfscope.traces import calibrations
from perfscope.traces.cache import tables
from perfscope.traces.cache.cache_folder import key_before_reading, safe_cache_folder, table_folder
from perfscope.traces.cache.tables import keep, recalled, remove_oldest_folders
from perfscope.traces.load import load_trace
from perfscope.traces.reading_options import reading
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Calibration, Manifest
from perfscope.ui.answer_cache import recalled_answer
from tests.build import FACTS
from tests.safety.other_user import NOBODY, needs_root
from tests.target_processes import perfscope
from tests.traces.kineto.events import event, kernel, launch, write_events

MANY = 140_000
"""A trace of so many events has some 26 MB, and is kept in the cache."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trace that is large enough for the cache."""
    many = [event("aten::mm", ts=10 * at, dur=8, args={"note": "x" * 90}) for at in range(MANY)]
    return write_events(
        tmp_path_factory.mktemp("large") / "large.json", [*many, launch(ts=5), kernel(ts=20)]
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder of the reader, which does not exist yet."""
    home = tmp_path / "home-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> Path:
    return write_events(tmp_path / "small.json", [event(), launch(ts=5), kernel(ts=20)])


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_with_window(folder: Path, trace: Path) -> Path:
    """Write a run folder with one window of the profiler, and return the trace in it."""
    run = RunWriter.create(folder, msgspec.convert({**FACTS, "depth": "kernels"}, Manifest))
    numbers = {"mono": 1, "real": 1, "first": 1, "begin": 2, "end": 3, "last": 4, "steps": 1}
    run.jsonl("kernels", 0).append({"name": "rank0.json.gz", **numbers})
    run.close()
    (folder / "kineto").mkdir()
    (folder / "kineto" / "rank0.json.gz").write_bytes(trace.read_bytes())
    return folder / "kineto" / "rank0.json.gz"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with files that must not be deleted, older than anything in the cache."""
    folder = tmp_path / "archive"
    for name in ("thesis", ".ssh", "0" * 32):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(bytes(1000))
        os.utime(folder / name, (1, 1))
    yield folder


def test_a_link_in_the_place_of_a_run_folders_cache_is_not_followed(
    tmp_path: Path, cache: Path, large: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = run_with_window(tmp_path / "r.perfscope", large)
    (tmp_path / "r.perfscope" / "cache").symlink_to(archive)
    monkeypatch.setattr(tables, "MOST_BYTES", 1)
    monkeypatch.setattr(remove_oldest_folders, "__defaults__", (1,))
    before = files_below(archive)
    with reading(use_cache=True):
        trace = load_trace(window)
    keep(trace, window, key_before_reading(window))
    assert files_below(archive) == before
    assert {path.name for path in archive.iterdir()} == {"thesis", ".ssh", "0" * 32}


def test_the_command_uses_the_readers_cache_and_not_a_linked_one(
    tmp_path: Path, cache: Path, large: Path, archive: Path
) -> None:
    window = run_with_window(tmp_path / "r.perfscope", large)
    (tmp_path / "r.perfscope" / "cache").symlink_to(archive)
    before = files_below(archive)
    answers = [analyzed(window), analyzed(window)]
    assert answers[0] == answers[1] and files_below(archive) == before
    assert recalled(window) is not None and recalled_answer(window) is not None
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (cache / "perfscope").rglob("*")
        if path.is_dir()
    }
    assert modes == {0o700} and stat.S_IMODE((cache / "perfscope").stat().st_mode) == 0o700


def analyzed(path: Path) -> object:
    """Return the diagnosis that the command prints."""
    done = subprocess.run(
        perfscope("analyze", str(path), "--json"), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and not done.stderr.startswith("Traceback"), done.stderr
    return json.loads(done.stdout)


def test_the_limit_of_the_cache_removes_only_entries_of_the_cache(
    tmp_path: Path, archive: Path
) -> None:
    outside = tmp_path / "outside"
    (outside).mkdir()
    (outside / "about.json").write_text("{}")
    entry = archive / ("a" * 32)
    entry.mkdir()
    (entry / "about.json").write_bytes(bytes(1000))
    (archive / ("b" * 32)).symlink_to(outside)
    os.utime(entry, (1, 1))
    remove_oldest_folders(archive, most_bytes=10)
    assert {path.name for path in archive.iterdir()} == {"thesis", ".ssh", "0" * 32, "b" * 32}
    assert (outside / "about.json").exists()


@needs_root
def test_a_run_folder_of_another_user_is_read_and_not_changed(
    tmp_path: Path, cache: Path, large: Path
) -> None:
    window = run_with_window(tmp_path / "r.perfscope", large)
    for path in (tmp_path / "r.perfscope", *(tmp_path / "r.perfscope").rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    before = files_below(tmp_path / "r.perfscope")
    assert analyzed(window) == analyzed(window)
    analyzed(tmp_path / "r.perfscope")
    assert files_below(tmp_path / "r.perfscope") == before
    assert recalled(window) is not None


@needs_root
@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_home_of_another_user_that_sudo_kept_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: Path, variable: str
) -> None:
    home = tmp_path / "home"
    (home / ".cache" / "perfscope" / "traces").mkdir(parents=True)
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(home if variable == "HOME" else home / ".cache"))
    assert analyzed(large) == analyzed(large)
    assert files_below(home) == {}
    assert list((home / ".cache" / "perfscope" / "traces").iterdir()) == []
    assert safe_cache_folder("traces") is None and recalled_answer(large) is None


@needs_root
def test_a_cache_in_a_shared_folder_is_used_only_if_the_reader_created_it(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
    assert safe_cache_folder("traces") is None, "other users may create it first"
    (shared / "cache").mkdir(mode=0o700)
    assert safe_cache_folder("traces") is not None, "the sticky bit protects the existing folder"
    os.chown(shared / "cache", NOBODY, NOBODY)
    assert safe_cache_folder("traces") is None


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
@pytest.mark.parametrize("which", ["", "perfscope", "perfscope/traces"])
def test_a_cache_that_others_may_write_into_is_not_used(
    small: Path, cache: Path, which: str, mode: int
) -> None:
    keep(load_trace(small), small, key_before_reading(small))
    assert recalled(small) is not None
    (cache / which).chmod(mode)
    assert recalled(small) is None and table_folder(small) is None
    keep(load_trace(small), small, key_before_reading(small))
    assert stat.S_IMODE((cache / which).stat().st_mode) == mode
    (cache / which).chmod(0o700)
    assert recalled(small) is not None


@pytest.mark.parametrize("which", ["perfscope", "perfscope/traces"])
def test_a_cache_folder_that_is_a_link_is_not_used(
    tmp_path: Path, small: Path, cache: Path, archive: Path, which: str
) -> None:
    place = cache / which
    place.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    cache.chmod(0o700)
    place.symlink_to(archive)
    before = files_below(archive)
    keep(load_trace(small), small, key_before_reading(small))
    assert files_below(archive) == before and recalled(small) is None


def test_a_parent_of_the_cache_that_others_may_write_into_is_not_used(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "open" / "home"))
    (tmp_path / "open" / "home").mkdir(parents=True)
    keep(load_trace(small), small, key_before_reading(small))
    assert recalled(small) is not None
    (tmp_path / "open").chmod(0o777)
    assert recalled(small) is None


def test_a_cache_home_that_is_a_link_to_a_folder_of_the_reader_is_used(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "link"))
    keep(load_trace(small), small, key_before_reading(small))
    assert recalled(small) is not None and (tmp_path / "disk" / "perfscope" / "traces").is_dir()


@needs_root
def test_a_calibration_of_another_user_is_not_used(cache: Path) -> None:
    made = Calibration("host", "cpu", "2.13.0", 1, {"float32": 1.0}, 1.0, 0.0, 0.0)
    calibrations.store_calibration(made)
    assert calibrations.load_calibration("host", "2.13.0", 1) == made
    os.chown(cache / "perfscope" / "calibrations", NOBODY, NOBODY)
    assert calibrations.load_calibration("host", "2.13.0", 1) is None
    with pytest.raises(PermissionError):
        calibrations.store_calibration(made)
