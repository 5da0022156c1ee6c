"""Run folders: written, read, truncated, damaged, and on a full disk."""

import array
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from perfscope.errors import UnreadableRun, UsageError
from perfscope.traces.load import load_trace
from perfscope.traces.privacy.secret_masking import mask_secrets
from perfscope.traces.run_folder.events import COLUMNS, WIDTH
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.open_folder import create_run_folder
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.schema import SCHEMA_VERSION
from tests.build import FACTS
from tests.target_processes import until

WRITER = """
import array, sys, msgspec
from pathlib import Path
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.folder import RunWriter
from tests.build import FACTS
run = RunWriter.create(Path(sys.argv[1]), msgspec.convert(FACTS, Manifest))
number = 0
while True:
    for _ in range(50):
        run.jsonl("host.states", 0).append({"ts": number, "tid": 1, "state": "running"})
        run.arrow("probe.records", 0, tuple("abcdefghijkl")).append(array.array("q", [number] * 12))
        number += 1
    run.flush()
"""


def writer(path: Path, **more: int) -> RunWriter:
    return RunWriter.create(path, msgspec.convert(FACTS, Manifest), **more)


def record(kind: int, ts: int, dur: int) -> "array.array[int]":
    return array.array("q", [kind, 1, ts, dur, *(-1,) * (WIDTH - 4)])


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    run.arrow("probe.records", 3, COLUMNS).append(record(5, 100, 7) + record(5, 200, 9))
    run.jsonl("probe.names", 3).append({"code": 1, "kind": "module", "name": "Net"})
    run.close()
    stored = StoredRun.open(tmp_path / "r")
    [(process, table)] = stored.columns("probe.records", COLUMNS)
    assert (process, table.column("ts").to_pylist(), stored.damaged_records) == (3, [100, 200], 0)
    assert list(stored.rows("probe.names")) == [(3, {"code": 1, "kind": "module", "name": "Net"})]


def test_a_run_is_read_up_to_its_last_flush(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    run.arrow("probe.records", 0, COLUMNS).append(record(5, 100, 7))
    run.flush()
    run.arrow("probe.records", 0, COLUMNS).append(record(5, 200, 7))
    trace = load_trace(tmp_path / "r")
    ranges = trace.table("ranges")
    assert ranges is not None and ranges["ts"].tolist() == [100] and trace.damaged_records == 0


@pytest.mark.parametrize("wait_s", [0.05, 0.3, 0.8])
def test_a_killed_writer_loses_at_most_the_records_since_its_last_flush(
    tmp_path: Path, wait_s: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "r")], cwd=Path(__file__).parents[2]
    )
    until((tmp_path / "r" / "streams").exists)
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = StoredRun.open(tmp_path / "r")
    states = [row["ts"] for _, row in stored.rows("host.states")]
    tables = [table for _, table in stored.columns("probe.records", tuple("abcdefghijkl"))]
    numbers = [number for table in tables for number in table.column("a").to_pylist()]
    assert states == list(range(len(states))) and numbers == list(range(len(numbers)))
    assert stored.damaged_records <= 2 and len(states) > 0


def test_segments_are_sealed_when_full_and_the_cap_drops_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfscope.traces.run_folder.streams.SEGMENT_BYTES", 10_000)
    run = writer(tmp_path / "r", cap_bytes=50_000)
    for number in range(100):
        run.arrow("probe.records", 0, COLUMNS).append(record(5, number, 1) * 20)
        run.flush()
    run.close()
    segments = sorted((tmp_path / "r/streams/probe.records@0").iterdir())
    assert sum(path.stat().st_size for path in segments) <= 60_000
    assert segments[0].name != "000000.arrow"
    trace = load_trace(tmp_path / "r")
    assert len(trace.manifest.dropped) == 1
    ranges = trace.table("ranges")
    assert ranges is not None and ranges["ts"].max() == 99 and ranges["ts"].min() > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk]).returncode
        == 0
    )
    if not mounted:
        pytest.skip("a small file system can only be mounted as root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_recording_that_a_full_disk_stops_can_be_read(small_disk: Path) -> None:
    run = writer(small_disk / "r")
    for number in range(400):
        run.arrow("probe.records", 0, COLUMNS).append(record(5, number, 1) * 50)
        run.flush()
    run.close()
    assert run.stopped is not None and "disk is full" in run.stopped
    ranges = load_trace(small_disk / "r").table("ranges")
    assert ranges is not None and len(ranges) > 500


def test_no_recording_starts_on_a_full_disk(small_disk: Path) -> None:
    # In KiB: no space for the reserve, and space for the reserve but not for the manifest.
    for taken in (256, 192):
        (small_disk / "full").write_bytes(bytes(taken << 10))
        with pytest.raises(UsageError, match=r"No space left on device.*--out"):
            writer(small_disk / "r")
        assert not list((small_disk / "r").iterdir())
        (small_disk / "full").unlink()


def test_a_folder_that_is_not_empty_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        writer(tmp_path)


def test_of_two_recordings_that_start_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    manifest = msgspec.convert(FACTS, Manifest)
    first, second = (RunWriter(tmp_path, create_run_folder(tmp_path), manifest) for _ in range(2))
    first.reserve_space()
    with pytest.raises(UsageError, match=r"another recording is writing .*--out"):
        second.reserve_space()


def test_unreadable_runs_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRun, match="does not exist"):
        load_trace(tmp_path / "none")
    with pytest.raises(UnreadableRun, match="not a run folder"):
        load_trace(tmp_path)
    run = writer(tmp_path / "r")
    run.manifest.schema = SCHEMA_VERSION + 1
    run.close()
    with pytest.raises(UnreadableRun, match="format 2"):
        load_trace(tmp_path / "r")
    (tmp_path / "r/manifest.json").write_bytes(b"{")
    with pytest.raises(UnreadableRun, match="damaged"):
        load_trace(tmp_path / "r")


def test_foreign_and_damaged_segments_are_counted_and_links_not_followed(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    run.arrow("probe.records", 0, COLUMNS).append(record(5, 1, 1))
    run.close()
    streams = tmp_path / "r/streams"
    (streams / "probe.records@0/000001.arrow").write_bytes(os.urandom(5000))
    whole = (streams / "probe.records@0/000000.arrow").read_bytes()
    (streams / "probe.records@0/000002.arrow").write_bytes(whole[: len(whole) // 2])
    (streams / "host.states@0").mkdir()
    (streams / "host.states@0/000000.jsonl").write_bytes(
        b'\xff\n[1]\n{"ts": 1, "tid": 2, "state": "running"}\n{"ts"'
    )
    (streams / "host.counters@0").symlink_to("/etc")
    trace = load_trace(tmp_path / "r")
    states = trace.table("thread_states")
    assert trace.damaged_records >= 4 and states is not None and len(states) == 1


def test_secrets_on_the_command_line_are_masked() -> None:
    command = [
        "python",
        "train.py",
        "--token",
        "abc",
        "--lr",
        "0.1",
        "API_KEY=xyz",
        "--password=p",
        "https://u:pw@host/x",
    ]
    masked = [
        "python",
        "train.py",
        "--token",
        "***",
        "--lr",
        "0.1",
        "API_KEY=***",
        "--password=***",
        "https://***@host/x",
    ]
    assert mask_secrets(command) == masked
