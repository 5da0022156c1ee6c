"""Several files as one job: its ranks, one clock and one set of tables; other files are refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from perfscope.errors import UnreadableRun, UsageError
from perfscope.traces.jobs.job import load_job
from perfscope.traces.jobs.members import members
from perfscope.traces.jobs.processes import local_processes, local_threads
from perfscope.traces.load import load_parts, load_trace
from perfscope.traces.reading import read_path
from perfscope.traces.run_folder.manifest import SourceStatus
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from perfscope.traces.trace import Trace
from tests.traces.comparison import assert_same_tables
from tests.traces.generated_ranks import generated_ranks, write
from tests.traces.kineto.events import event
from tests.ui.recorded import recorded_run


def test_clocks_of_ranks_are_aligned_to_a_microsecond(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path / "job")
    trace = load_trace(tmp_path / "job")
    ranks = trace.table("ranks")
    assert ranks is not None and ranks["rank"].tolist() == [0, 1, 2, 3]
    truth = [(made.offsets_us[0] - offset_us) * 1e3 for offset_us in made.offsets_us]
    assert np.abs(ranks["clock_offset_ns"] - truth).max() < 1000
    assert (ranks["clock_residual_ns"] >= 0).all() and ranks["clock_residual_ns"].max() < 1000
    collectives = trace.table("collectives")
    assert collectives is not None
    ends = (collectives["ts"] + collectives["dur"]).to_numpy().reshape(4, -1)
    assert (ends.max(axis=0) - ends.min(axis=0)).max() < 2000
    assert trace.span_ns[0] == 0


def test_tables_of_a_job_are_those_of_its_ranks_with_valid_references(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path / "job", ranks=3)
    whole, parts = load_trace(tmp_path / "job"), [read_path(path) for path in made.paths]
    for name in TABLES:
        frame = whole.table(name)
        of_ranks = [table for part in parts if (table := part.table(name)) is not None]
        assert (frame is None) == (not of_ranks), name
        if frame is None:
            assert whole.why_absent(name) == parts[0].why_absent(name)
            continue
        assert len(frame) == sum(len(table) for table in of_ranks)
        types = {column.name: column.dtype for column in TABLES[name]}
        assert types == frame.dtypes.astype(str).to_dict()
    assert sorted(whole.table("processes")["process"]) == [0, 1, 2]
    kernels, launches = whole.table("kernels"), whole.table("launches")
    assert kernels is not None and launches is not None
    started = launches.iloc[kernels["launch"].to_numpy()]
    assert (started["correlation"].to_numpy() == kernels["correlation"].to_numpy()).all()
    assert (started["process"].to_numpy() == kernels["process"].to_numpy()).all()
    collectives = whole.table("collectives")
    assert (kernels["ts"].to_numpy()[collectives["kernel"]] == collectives["ts"].to_numpy()).all()
    assert set(ROW_NUMBERS.values()) <= set(TABLES)


def test_files_are_read_in_natural_order_and_others_are_reported(tmp_path: Path) -> None:
    generated_ranks(tmp_path, ranks=2)
    (tmp_path / "rank10.json").write_text("")
    (tmp_path / "notes.txt").write_text("x")
    names = [member.path.name for member in members([tmp_path])]
    assert names == ["rank0.json.gz", "rank1.json.gz", "rank10.json"]
    trace = load_trace(tmp_path)
    assert any("rank10.json" in line for line in trace.manifest.dropped)
    with pytest.raises(UnreadableRun, match=r"rank10\.json"):
        load_job([tmp_path / "rank0.json.gz", tmp_path / "rank10.json"])


def sources_of(trace: Trace) -> dict[str, SourceStatus]:
    return {source.name: source for source in trace.manifest.sources}


def test_missing_ranks_are_reported(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path)
    trace = load_job(made.paths[:2])
    sources = sources_of(trace)
    assert sources["ranks"].status == "partial"
    assert "2 of 4 ranks" in str(sources["ranks"].reason)
    assert "missing: 2, 3" in str(sources["ranks"].reason)
    assert sources["clocks"].status == "ok" and "collectives" in str(sources["clocks"].reason)


def test_files_without_ranks_are_numbered_in_order(tmp_path: Path) -> None:
    generated_ranks(tmp_path / "a", ranks=2, distributedInfo=None)
    for rank in (0, 1):
        (tmp_path / f"a/rank{rank}.json.gz").rename(tmp_path / f"a/host{rank}.json.gz")
    trace = load_trace(tmp_path / "a")
    assert trace.table("ranks")["rank"].tolist() == [0, 1]
    assert trace.table("processes")["rank"].tolist() == [0, 1]
    assert "numbered" in str(sources_of(trace)["ranks"].reason)


def test_of_several_recordings_of_a_rank_in_a_folder_the_newest_is_read(tmp_path: Path) -> None:
    generated_ranks(tmp_path / "new", ranks=2, baseTimeNanoseconds=60_000_000_000)
    generated_ranks(tmp_path / "old", ranks=2)
    for age in ("old", "new"):
        for rank in (0, 1):
            (tmp_path / age / f"rank{rank}.json.gz").rename(tmp_path / f"rank{rank}_{age}.json.gz")
        (tmp_path / age).rmdir()
    trace = load_trace(tmp_path)
    names = sorted(Path(str(source)).name for source in trace.table("ranks")["source"])
    assert names == ["rank0_new.json.gz", "rank1_new.json.gz"]
    dropped = trace.manifest.dropped
    for name in ("rank0_old.json.gz", "rank1_old.json.gz"):
        assert any(name in text for text in dropped), name
    with pytest.raises(UsageError, match=r"rank0_new.* and .*rank0_old.* of rank 0"):
        load_job(sorted(tmp_path.iterdir()))


def test_more_parts_than_a_job_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = generated_ranks(tmp_path / "job", ranks=3).paths
    monkeypatch.setattr("perfscope.traces.jobs.members.MOST_MEMBERS", 2)
    for read in (
        lambda: load_trace(tmp_path / "job"),
        lambda: load_job(paths),
        lambda: load_parts(paths, tmp_path / "job"),
    ):
        with pytest.raises(UnreadableRun, match="has more than 2 traces"):
            read()
    assert len(load_job(paths[:2]).table("ranks")) == 2


def test_more_processes_or_devices_than_a_recording_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [event("aten::mm", pid=pid, ts=pid) for pid in range(1, 5)]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": events}))
    assert len(load_trace(path).table("processes")) == 4
    monkeypatch.setattr("perfscope.traces.reading.MOST_PARTS", 3)
    with pytest.raises(UnreadableRun, match="has 4 processes"):
        load_trace(path)
    devices = [{"id": number, "name": "A100", "totalGlobalMem": 1} for number in range(4)]
    whole = {"schemaVersion": 1, "deviceProperties": devices, "traceEvents": events[:1]}
    path.write_text(json.dumps(whole))
    with pytest.raises(UnreadableRun, match="has 4 devices"):
        load_trace(path)


def test_a_recording_may_have_more_loader_workers_than_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(tmp_path / "run.perfscope")
    roles = load_trace(run).table("processes")["role"].tolist()
    assert roles.count("main") == 1 < len(roles)
    monkeypatch.setattr("perfscope.traces.reading.MOST_PARTS", 1)
    assert len(load_trace(run).table("processes")) == len(roles)
    monkeypatch.setattr("perfscope.traces.reading.MOST_PROCESSES", len(roles) - 1)
    with pytest.raises(UnreadableRun, match=f"has {len(roles)} processes"):
        load_trace(run)


def test_files_of_different_jobs_are_refused(tmp_path: Path) -> None:
    two, three = (
        generated_ranks(tmp_path / "two", ranks=2),
        generated_ranks(tmp_path / "three", ranks=3),
    )
    with pytest.raises(UsageError, match=r"2 ranks.* 3"):
        load_job([two.paths[0], three.paths[1]])
    later = generated_ranks(tmp_path / "later", ranks=2, baseTimeNanoseconds=86_400_000_000_000)
    with pytest.raises(UsageError, match="24 hours apart"):
        load_job([two.paths[0], later.paths[1]])


def test_ranks_without_a_common_collective_are_not_aligned_and_are_reported(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path, ranks=3)
    trace = json.loads(gzip.decompress(made.paths[2].read_bytes()))
    trace["traceEvents"] = [event for event in trace["traceEvents"] if "nccl" not in event["name"]]
    write(made.paths[2], trace)
    whole = load_trace(tmp_path)
    assert (whole.table("ranks")["clock_residual_ns"] >= 0).tolist() == [True, True, False]
    clocks = sources_of(whole)["clocks"]
    assert clocks.status == "partial" and "rank 2" in str(clocks.reason)


def test_threads_and_processes_read_the_same(tmp_path: Path) -> None:
    generated_ranks(tmp_path / "job", ranks=3)
    by_threads = load_job([tmp_path / "job"], local_threads)
    by_processes = load_job([tmp_path / "job"], local_processes)
    assert_same_tables(by_threads, by_processes)
    assert by_threads.manifests == by_processes.manifests
    assert by_threads.span_ns == by_processes.span_ns
