"""Faults of the disk during a recording: full, read-only, a used-up quota, limited files, removed
files. The recorded part remains readable.
"""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from perfscope.agent.profiler_windows import trace_store
from perfscope.agent.profiler_windows.trace_store import TraceStore
from perfscope.agent.recording.recorder import Plan, Progress, Recorder
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.stored import StoredRun
from tests.build import FACTS
from tests.safety.other_user import NOBODY, TARGET, needs_root, waiting_process
from tests.target_processes import attach_and_act

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pid() -> Iterator[int]:
    with waiting_process() as waiting:
        yield waiting


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> None:
    """Use all the space that is left."""
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def problems(done: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("perfscope: ")]


@needs_root
def test_a_full_disk_leaves_a_finished_manifest(pid: int, disk: Path) -> None:
    done = attach_and_act(pid, disk / "run", lambda: fill(disk))
    assert done.returncode == 0 and json.loads(done.stdout)["sources"]
    assert len(problems(done)) == 1 and "the disk is full" in problems(done)[0]
    manifest = StoredRun.open(disk / "run").manifest
    assert manifest.finished and manifest.dropped
    assert "the disk is full" in (manifest.end_reason or "")


def record_and_act(pid: int, out: Path, act: Callable[[Recorder], object]) -> Recorder:
    """Record, and call `act` during the recording."""
    calls: list[Progress] = []

    def tick(progress: Progress) -> None:
        calls.append(progress)
        if len(calls) == 2:
            act(recorder)

    recorder = Recorder(Plan(pid, out, "observe", 5.0))
    recorder.record(tick)
    return recorder


@needs_root
def test_the_recorded_part_on_a_read_only_file_system_is_readable(pid: int, disk: Path) -> None:
    def remount(recorder: Recorder) -> None:
        recorder.run.seal()  # with a file open for writing, the remount would fail
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    recorder = record_and_act(pid, disk / "run", remount)
    assert "read-only" in (recorder.run.stopped or "") and not recorder.problems
    stored = StoredRun.open(disk / "run")
    assert not stored.manifest.finished and any(stored.rows("host.counters"))
    assert load_trace(disk / "run").damaged_records == 0


def test_a_run_folder_that_is_removed_ends_the_recording_with_one_line(
    pid: int, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = attach_and_act(pid, out, lambda: shutil.rmtree(out))
    assert (done.returncode, done.stdout, len(problems(done))) == (1, "", 1)
    assert str(out) in problems(done)[0] and not out.exists()


@pytest.mark.parametrize("removed", ["streams", "everything"])
def test_files_that_are_removed_end_the_recording_and_the_rest_is_read(
    pid: int, tmp_path: Path, removed: str
) -> None:
    def remove(recorder: Recorder) -> None:
        names = ["streams"] if removed == "streams" else os.listdir(tmp_path / "run")
        for name in names:
            path = tmp_path / "run" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    recorder = record_and_act(pid, tmp_path / "run", remove)
    assert "deleted" in (recorder.run.stopped or "") and not recorder.problems
    manifest = StoredRun.open(tmp_path / "run").manifest
    assert manifest.finished and "deleted" in (manifest.end_reason or "")


LIMITED = """
import array, sys, msgspec
from pathlib import Path
from perfscope.traces.run_folder.events import COLUMNS
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from tests.build import FACTS
run = RunWriter.create(Path(sys.argv[1]), msgspec.convert(FACTS, Manifest))
row = [5, 1, 100, 1, *[-1] * (len(COLUMNS) - 4)]
for _ in range(400):
    run.arrow("probe.records", 0, COLUMNS).append(array.array("q", row * 10))
    run.jsonl("host.states", 0).append({"ts": 1, "tid": 1, "state": "running"})
    run.flush()
run.close()
print(run.stopped)
"""


def write_limited(before: Callable[[], None], out: Path) -> str:
    """Write 400 kB in a process that calls `before` first; return what stopped it."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(out)],
        cwd=ROOT,
        preexec_fn=before,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_limit_on_the_size_of_files_ends_the_recording_which_is_readable(
    tmp_path: Path,
) -> None:
    limit = 128 << 10
    printed = write_limited(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)), tmp_path / "run"
    )
    assert "ulimit -f" in printed
    trace = load_trace(tmp_path / "run")
    ranges = trace.table("ranges")
    assert trace.manifest.finished and ranges is not None and len(ranges) > 500


@needs_root
def test_a_used_up_quota_ends_the_recording_which_is_readable(
    tmp_path: Path,
) -> None:
    place = tmp_path / "disk"
    place.mkdir(mode=0o777)
    options = "mode=777,usrquota_block_hardlimit=192k"
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", place]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this kernel has no quotas on tmpfs")
    try:
        printed = write_limited(lambda: os.setresuid(NOBODY, NOBODY, NOBODY), place / "run")
        assert "quota" in printed
        trace = load_trace(place / "run")
        assert trace.manifest.finished and trace.table("ranges") is not None
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def store_trace(store: TraceStore, size: int) -> str:
    """Store a trace of `size` bytes, and return its name."""
    file = os.memfd_create("trace")
    os.write(file, os.urandom(size))
    note: dict[str, object] = {"mono": 1, "real": 1}
    store.keep(file, note, TARGET)
    store.finish()
    return str(note["name"])


def test_a_trace_that_is_cut_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_store, "LARGEST_TRACE_BYTES", 2 << 20)
    run = RunWriter.create(tmp_path / "run", msgspec.convert(FACTS, Manifest))
    store = TraceStore(run)
    store_trace(store, 2 << 20)
    assert not store.trouble and not run.manifest.dropped
    store_trace(store, (2 << 20) + 1)
    run.close()
    (dropped,) = StoredRun.open(tmp_path / "run").manifest.dropped
    assert "2 MB" in store.trouble[0] and "2 MB" in dropped


def test_a_trace_that_was_removed_does_not_end_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_store, "MOST_STORED_BYTES", 1 << 20)
    run = RunWriter.create(tmp_path / "run", msgspec.convert(FACTS, Manifest))
    store = TraceStore(run)
    (tmp_path / "run/kineto" / store_trace(store, 1 << 20)).unlink()
    second = store_trace(store, 1 << 20)
    shutil.rmtree(tmp_path / "run/kineto")
    store_trace(store, 1 << 20)
    run.close()
    assert "could not be stored" in store.trouble[0] and store.stored == 2 and second in store.names
    assert [row for _, row in StoredRun.open(tmp_path / "run").rows("kernels") if "gone" in row]
