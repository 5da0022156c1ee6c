"""Hostile run folders: compressed segments, links, pipes, huge and odd content."""

import json
import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from perfscope.cli import main
from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder import growing, stored
from perfscope.traces.run_folder.arrow_messages import ArrowReader
from perfscope.traces.run_folder.events import COLUMNS, STEP
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.run_folder.tables import trace_of
from perfscope.ui.dashboard.open_runs import Library
from tests.build import FACTS
from tests.target_processes import perfscope

SCHEMA = pa.schema([(name, pa.int64()) for name in COLUMNS])
HOUR_NS = 3_600_000_000_000


def run_folder(path: Path) -> Path:
    """Write a small run folder, without the stream of records of process 0."""
    run = RunWriter.create(path, msgspec.convert(FACTS, Manifest))
    run.jsonl("host.states", 0).append({"ts": 1, "tid": 2, "state": "running"})
    run.close()
    (path / "streams" / "probe.records@0").mkdir()
    return path


def records(count: int, schema: pa.Schema = SCHEMA, **columns: int) -> pa.RecordBatch:
    """Return `count` marks of steps."""
    values = {"kind": STEP, "tid": 1, "ts": 5, "dur": 1, **columns}
    return pa.record_batch(
        [pa.array(np.full(count, values.get(name, 0), np.int64)) for name in COLUMNS], schema=schema
    )


def stream(*batches: Any, schema: pa.Schema = SCHEMA, **options: Any) -> bytes:
    """Return an Arrow stream of these batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def read_both_ways(folder: Path, segment: bytes) -> list[tuple[int, int]]:
    """Return (rows, damaged) of a segment of records, read in a finished and in a growing run."""
    (folder / "streams" / "probe.records@0" / "000000.arrow").write_bytes(segment)
    whole, grows = StoredRun.open(folder), GrowingRun(folder, HOUR_NS)
    grows.update()
    return [
        (sum(len(table) for _, table in run.columns("probe.records", COLUMNS)), run.damaged_records)
        for run in (whole, grows)
    ]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_batch_is_refused_before_it_is_decompressed(
    tmp_path: Path, codec: str
) -> None:
    """Decompressed, 136 KB would be 3.6 GB."""
    segment = stream(records(1 << 20), compression=codec)
    assert len(segment) * 20 < records(1 << 20).nbytes
    before = pa.total_allocated_bytes()
    assert read_both_ways(run_folder(tmp_path / "r"), segment) == [(0, 1), (0, 1)]
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_batches_before_a_compressed_batch_are_read(tmp_path: Path) -> None:
    plain, packed = stream(records(3)), stream(records(1 << 16), compression="lz4")
    begin = len(stream())
    segment = plain[:-8] + packed[begin - 8 :]
    assert read_both_ways(run_folder(tmp_path / "r"), segment) == [(3, 1), (3, 1)]


def test_plain_batches_of_every_version_of_pyarrow_are_read(tmp_path: Path) -> None:
    segment = stream(records(3), records(0), records(5))
    assert read_both_ways(run_folder(tmp_path / "r"), segment) == [(8, 0), (8, 0)]


def with_gaps() -> bytes:
    columns = [pa.array([None, 1], pa.int64()) for _ in COLUMNS]
    return stream(pa.record_batch(columns, schema=SCHEMA))


def with_dictionary() -> bytes:
    schema = pa.schema([("kind", pa.dictionary(pa.int32(), pa.string()))])
    return stream(
        pa.record_batch([pa.array(["a", "b"]).dictionary_encode()], schema=schema), schema=schema
    )


def of_text() -> bytes:
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    return stream(pa.record_batch([pa.array(["x"])] * len(COLUMNS), schema=schema), schema=schema)


def of_old_format() -> bytes:
    return stream(records(2), metadata_version=pa.ipc.MetadataVersion.V4)


def with_huge_row_count() -> bytes:
    plain = stream(records(77))
    return plain.replace((77).to_bytes(8, "little"), (1 << 40).to_bytes(8, "little"))


def with_negative_row_count() -> bytes:
    plain = stream(records(77))
    return plain.replace((77).to_bytes(8, "little"), (-1).to_bytes(8, "little", signed=True))


def with_columns_in_the_same_bytes() -> bytes:
    """Return a batch whose columns all share one buffer: twelve times the memory of the file."""
    plain = bytearray(stream(records(1000)))
    size = (8000).to_bytes(8, "little")
    at = plain.index(size) - 8
    for number in range(2 * len(COLUMNS)):
        plain[at + 16 * number : at + 16 * number + 8] = bytes(8)
    begin = len(stream()) - 8
    shorter = plain[: len(plain) - 8 - 8000 * (len(COLUMNS) - 1)]
    body = (8000 * len(COLUMNS)).to_bytes(8, "little")
    return bytes(shorter[:begin] + shorter[begin:].replace(body, size, 1)) + plain[-8:]


@pytest.mark.parametrize(
    "made",
    [
        with_gaps,
        with_dictionary,
        of_text,
        of_old_format,
        with_huge_row_count,
        with_negative_row_count,
        with_columns_in_the_same_bytes,
    ],
)
def test_batches_that_no_writer_of_perfscope_writes_are_damaged(tmp_path: Path, made: Any) -> None:
    segment = made()
    (rows, damaged), (rows_growing, damaged_growing) = read_both_ways(
        run_folder(tmp_path / "r"), segment
    )
    assert (rows, rows_growing) == (0, 0) and damaged == 1 and damaged_growing == 1


def test_a_header_without_end_is_refused_at_once() -> None:
    reader = ArrowReader()
    for size in (-1, 1 << 30, 2**31 - 1):
        reader = ArrowReader()
        reader.read(b"\xff\xff\xff\xff" + size.to_bytes(4, "little", signed=True) + bytes(64))
        assert reader.refused


def test_a_truncated_segment_gives_whole_batches(tmp_path: Path) -> None:
    segment = stream(records(2), records(3))
    counts = set()
    for end in range(len(segment)):
        reader = ArrowReader()
        reader.read(segment[:end])
        taken = reader.take_rows()
        assert not reader.refused
        counts.add(0 if taken is None else taken.num_rows)
    assert counts == {0, 2, 5}


def is_one_line(code: int, stderr: str) -> bool:
    return code == 2 and stderr.startswith("perfscope: ") and stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "device", "socket", "loop"])
def test_a_manifest_that_is_not_a_regular_file_is_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(tmp_path / "r")
    manifest = folder / "manifest.json"
    secret = tmp_path / "secret.json"
    manifest.rename(secret)
    replace(manifest, kind, secret)
    with pytest.raises(UnreadableRun, match="not a run folder"):
        stored.read_manifest(folder)
    assert is_one_line(main(["analyze", str(folder)]), capsys.readouterr().err)


def replace(path: Path, kind: str, other: Path) -> None:
    """Put something that is not a regular file at `path`."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(other)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as unbound:
            working_directory = os.getcwd()
            os.chdir(path.parent)
            try:
                unbound.bind(path.name)
            finally:
                os.chdir(working_directory)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "device", "socket", "loop"])
@pytest.mark.parametrize(
    "where", ["streams", "streams/host.states@0", "streams/host.states@0/000000.jsonl", "kineto"]
)
def test_other_files_that_are_not_regular_are_left_out(
    tmp_path: Path, kind: str, where: str
) -> None:
    folder = run_folder(tmp_path / "r")
    elsewhere = run_folder(tmp_path / "other")
    path = folder / where
    if path.exists():
        path.rename(tmp_path / "away")
    replace(path, kind, elsewhere / where)
    trace = load_trace(folder)
    states = trace.table("thread_states")
    expected = 1 if where == "kineto" else 0
    assert (0 if states is None else len(states)) == expected


def test_a_window_that_is_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    run = RunWriter.create(folder, msgspec.convert({**FACTS, "depth": "kernels"}, Manifest))
    numbers = {"mono": 1, "real": 1, "first": 1, "begin": 2, "end": 3, "last": 4, "steps": 1}
    for name in ("rank0.json.gz", "rank1.json.gz", "../rank2.json.gz", ["rank3.json.gz"], 4, None):
        run.jsonl("kernels", 0).append({"name": name, **numbers})
    run.close()
    (folder / "kineto").mkdir()
    (folder / "kineto" / "rank0.json.gz").symlink_to("/etc/passwd")
    os.mkfifo(folder / "kineto" / "rank1.json.gz")
    assert load_trace(folder).damaged_records == 6


MANIFESTS: list[dict[str, Any]] = [
    {"zero_monotonic_ns": 10**30},
    {"zero_realtime_ns": -(10**30)},
    {"zero_monotonic_ns": 2**63},
    {"target_pid": 10**25},
    {"schema": 10**25},
    {"schema": -1, "usable_cores": {"cores": 0.0, "affinity": 0}},
    {"usable_cores": {"cores": 1e308, "affinity": -5}},
    {"memory_limit_bytes": 10**19},
    {"torch": {"version": "", "intra_op_threads": 0, "inter_op_threads": -1, "cuda": True}},
    {"host": "\x1b[31m\x00\n", "command": ["\x1b]0;title\x07"], "target_pid": -1},
    {"sources": [{"name": "\x1b[2J", "status": "\x00", "reason": "\r\n"}] * 100},
]


@pytest.mark.parametrize("facts", MANIFESTS, ids=lambda facts: next(iter(facts)))
def test_a_manifest_with_numbers_out_of_range_and_odd_texts_causes_no_traceback(
    tmp_path: Path, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(tmp_path / "r")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **facts}))
    code = main(["analyze", str(folder)])
    stderr = capsys.readouterr().err
    assert code == 0 or is_one_line(code, stderr), stderr


ROWS = {
    "probe.names": [
        '{"code": [1], "name": 5}',
        '{"code": 1e30}',
        '{"code": 99999999999999999999, "name": "x"}',
    ],
    "nvtx.names": ['{"code": {}, "name": "x"}', '{"code": 1, "name": [[[[]]]]}'],
    "clock": [
        '{"mono": 99999999999999999999, "real": 1}',
        '{"mono": 1, "real": 1e400}',
        '{"mono": true, "real": null}',
    ],
    "processes": ['{"process": 1}', '{"process": [], "pid": 3}', '{"process": 1e10, "pid": "x"}'],
    "host.counters": [
        '{"ts": 1, "cpu_ns": 1' + "0" * 400 + "}",
        '{"ts": 1, "tid": [], "x": 1}',
        '{"ts": 2, "x": true}',
    ],
    "host.states": [
        '{"ts": "1", "tid": 1, "state": 5}',
        '{"ts": 9223372036854775808, "tid": 1, "state": "x"}',
        "[]",
    ],
    "probe.stacks": [
        '{"ts": 1, "tid": 1, "weight_ns": 1, "stack": ["a"]}',
        '{"ts": 1, "tid": {}, "stack": null}',
    ],
    "kernels": [
        '{"name": ["x"], "gone": []}',
        '{"name": {}, "mono": 1}',
        '{"gone": [1]}',
        '{"name": "rank0.json.gz"}',
    ],
    "device.counters": [
        '{"ts": 1, "device": [], "a": 1}',
        '{"ts": 1, "device": 0, "a": 1' + "0" * 400 + "}",
    ],
    "device.processes": ['{"ts": 1, "device": "x"}'],
    "device.gaps": ['{"ts": 1, "dur": -9223372036854775808, "device": 0, "reason": 7}'],
    "network.counters": [
        '{"ts": 1, "port": ["eth0"], "rx_bytes": 1}',
        '{"ts": 1, "port": 4294967296, "rx_bytes": 1}',
    ],
}


@pytest.mark.parametrize("source", ROWS)
def test_rows_of_another_kind_are_left_out(tmp_path: Path, source: str) -> None:
    folder = run_folder(tmp_path / "r")
    for process in ("0", "host"):
        stream_folder = folder / "streams" / f"{source}@{process}"
        stream_folder.mkdir(exist_ok=True)
        (stream_folder / "000001.jsonl").write_text("\n".join(ROWS[source]) + "\n")
    trace = load_trace(folder)
    grows = GrowingRun(folder, HOUR_NS)
    grows.update()
    trace_of(grows)
    assert trace.table("thread_states") is not None


def test_names_of_streams_that_no_writer_gives_are_left_out(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    for process in ("-1", "٣", "9" * 30, "0x1", "", "host ", "1_0"):
        (folder / "streams" / f"host.states@{process}").mkdir()
    assert [key for key, _ in StoredRun.open(folder).streams["host.states"]] == [0]


def test_times_out_of_range_in_records_are_damaged(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    batches = [records(1, ts=2**63 - 1), records(1, ts=-(2**63)), records(1, dur=2**62), records(2)]
    (folder / "streams" / "probe.records@0" / "000000.arrow").write_bytes(stream(*batches))
    trace = load_trace(folder)
    ranges = trace.table("ranges")
    assert trace.damaged_records == 3 and ranges is not None and len(ranges) == 2


def test_a_sparse_segment_and_a_line_without_end_take_no_memory(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    for name in (
        "host.states@0/000001.jsonl",
        "probe.records@0/000000.arrow",
        "host.counters@0/000000.open",
    ):
        path = folder / "streams" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.truncate(path, stored.LARGEST_SEGMENT_BYTES)
    (folder / "streams/host.states@0/000002.jsonl").write_text(
        '{"ts": 1, "x": [' + "{}," * 5_000_000 + "{}]}\n"
    )
    (folder / "streams/host.states@0/000003.jsonl").write_text(
        '{"ts": 9, "tid": 1, "state": "x"}\n'
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    call = perfscope("analyze", str(folder), "--json")
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, preexec_fn=limited)
    assert done.returncode == 0, done.stderr
    states = load_trace(folder).table("thread_states")
    assert states is not None and len(states) == 2


def test_rows_beyond_the_limit_of_a_run_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path / "r")
    line = '{"ts": 9, "tid": 1, "state": "x"}\n'
    for number in range(1, 11):
        (folder / "streams" / "host.states@0" / f"{number:06d}.jsonl").write_text(line * 100)
    monkeypatch.setattr(stored, "MOST_BYTES", 5 * 100 * len(line) + 100)
    states = load_trace(folder).table("thread_states")
    assert states is not None and len(states) == 501 and load_trace(folder).damaged_records == 5
    monkeypatch.setattr(stored, "MOST_CELLS", 402)
    states = load_trace(folder).table("thread_states")
    assert states is not None and len(states) == 100


def test_a_growing_run_has_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path / "r")
    (folder / "streams/probe.records@0/000000.arrow").write_bytes(stream(*[records(1000)] * 30))
    monkeypatch.setattr(growing, "MOST_HELD_BYTES", 1 << 20)
    for process in range(1, 20):
        (folder / f"streams/host.states@{process}").mkdir()
        lines = '{"ts": 9, "tid": 1, "state": "x"}\n' * 2000
        (folder / f"streams/host.states@{process}" / "000000.jsonl").write_text(lines)
    grows = GrowingRun(folder, HOUR_NS)
    grows.update()
    assert (
        0 < sum(tail.held_bytes for tail in grows.all_tails()) <= 1 << 20
        and grows.damaged_records > 0
    )


def test_many_processes_are_read_in_one_pass(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    for process in range(1, 3001):
        (folder / f"streams/host.states@{process}").mkdir()
        (folder / f"streams/host.states@{process}" / "000000.jsonl").write_text(
            '{"ts": 9, "tid": 1, "state": "x"}\n' * 10
        )
    states = load_trace(folder).table("thread_states")
    assert states is not None and states["process"].nunique() == 3001


def test_a_dashboard_lists_a_folder_with_pipes_and_links_in_it(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "good")
    os.mkfifo(tmp_path / "pipe.json")
    bad = tmp_path / "bad"
    bad.mkdir()
    os.mkfifo(bad / "manifest.json")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "manifest.json").symlink_to(folder / "manifest.json")
    assert [run.name for run in Library(tmp_path).runs()] == ["good"]
