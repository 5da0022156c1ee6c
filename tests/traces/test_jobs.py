"""Several files as one job: who is who, one clock, one set of tables; what is no job is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfscope.errors import UnreadableRun, UsageError
from perfscope.traces.jobs.job import load_job
from perfscope.traces.jobs.members import members
from perfscope.traces.jobs.processes import local_processes, local_threads
from perfscope.traces.load import load_trace
from perfscope.traces.reading import read_path
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from tests.traces.made_ranks import made_ranks, write


def test_clocks_are_brought_together_to_a_microsecond(tmp_path: Path) -> None:
    made = made_ranks(tmp_path / "job")
    trace = load_trace(tmp_path / "job")
    ranks = trace.table("ranks")
    assert ranks is not None and ranks["rank"].tolist() == [0, 1, 2, 3]
    truth = [(made.offsets_us[0] - own) * 1e3 for own in made.offsets_us]
    assert np.abs(ranks["clock_offset_ns"] - truth).max() < 1000
    assert (ranks["clock_residual_ns"] >= 0).all() and ranks["clock_residual_ns"].max() < 1000
    collectives = trace.table("collectives")
    assert collectives is not None
    ends = (collectives["ts"] + collectives["dur"]).to_numpy().reshape(4, -1)
    assert (ends.max(axis=0) - ends.min(axis=0)).max() < 2000
    assert trace.span_ns[0] == 0


def test_tables_are_those_of_the_parts_with_their_references(tmp_path: Path) -> None:
    made = made_ranks(tmp_path / "job", ranks=3)
    whole, parts = load_trace(tmp_path / "job"), [read_path(path) for path in made.paths]
    for name in TABLES:
        frame, own = whole.table(name), [part.table(name) for part in parts]
        assert (frame is None) == all(one is None for one in own), name
        if frame is None:
            assert whole.why_absent(name) == parts[0].why_absent(name)
            continue
        assert len(frame) == sum(len(one) for one in own if one is not None)
        assert {column.name: column.dtype for column in TABLES[name]} == frame.dtypes.astype(
            str
        ).to_dict()
    assert sorted(whole.table("processes")["process"]) == [0, 1, 2]
    kernels, launches = whole.table("kernels"), whole.table("launches")
    assert kernels is not None and launches is not None
    started = launches.iloc[kernels["launch"].to_numpy()]
    assert (started["correlation"].to_numpy() == kernels["correlation"].to_numpy()).all()
    assert (started["process"].to_numpy() == kernels["process"].to_numpy()).all()
    collectives = whole.table("collectives")
    assert (kernels["ts"].to_numpy()[collectives["kernel"]] == collectives["ts"].to_numpy()).all()
    assert set(ROW_NUMBERS.values()) <= set(TABLES)


def test_files_are_taken_in_natural_order_and_others_said(tmp_path: Path) -> None:
    made_ranks(tmp_path, ranks=2)
    (tmp_path / "rank10.json").write_text("")
    (tmp_path / "notes.txt").write_text("x")
    assert [one.path.name for one in members([tmp_path])] == [
        "rank0.json.gz",
        "rank1.json.gz",
        "rank10.json",
    ]
    trace = load_trace(tmp_path)
    assert any("rank10.json" in line for line in trace.manifest.dropped)
    with pytest.raises(UnreadableRun, match=r"rank10\.json"):
        load_job([tmp_path / "rank0.json.gz", tmp_path / "rank10.json"])


def test_missing_ranks_are_said(tmp_path: Path) -> None:
    made = made_ranks(tmp_path)
    trace = load_job(made.paths[:2])
    said = {one.name: one for one in trace.manifest.sources}
    assert said["ranks"].status == "partial" and "2 of 4 ranks were given (missing: 2, 3)" in str(
        said["ranks"].reason
    )
    assert said["clocks"].status == "ok" and "aligned by collectives" in str(said["clocks"].reason)


def test_ranks_that_nothing_says_are_numbered_in_order(tmp_path: Path) -> None:
    made_ranks(tmp_path / "a", ranks=2, distributedInfo=None)
    for rank in (0, 1):
        (tmp_path / f"a/rank{rank}.json.gz").rename(tmp_path / f"a/host{rank}.json.gz")
    trace = load_trace(tmp_path / "a")
    assert (
        trace.table("ranks")["rank"].tolist() == [0, 1] == trace.table("processes")["rank"].tolist()
    )
    assert "numbered" in str({one.name: one for one in trace.manifest.sources}["ranks"].reason)


def test_the_newest_recording_of_each_rank_is_taken_from_a_folder_and_said(tmp_path: Path) -> None:
    made_ranks(tmp_path / "new", ranks=2, baseTimeNanoseconds=60_000_000_000)
    made_ranks(tmp_path / "old", ranks=2)
    for age in ("old", "new"):
        for rank in (0, 1):
            (tmp_path / age / f"rank{rank}.json.gz").rename(tmp_path / f"rank{rank}_{age}.json.gz")
        (tmp_path / age).rmdir()
    trace = load_trace(tmp_path)
    assert sorted(Path(str(one)).name for one in trace.table("ranks")["source"]) == [
        "rank0_new.json.gz",
        "rank1_new.json.gz",
    ]
    assert sum("older recording" in line for line in trace.manifest.dropped) == 2
    with pytest.raises(UsageError, match=r"rank0_new.* and .*rank0_old.* of rank 0"):
        load_job(sorted(tmp_path.iterdir()))


def test_what_is_not_one_job_is_refused(tmp_path: Path) -> None:
    two, three = made_ranks(tmp_path / "two", ranks=2), made_ranks(tmp_path / "three", ranks=3)
    with pytest.raises(UsageError, match=r"2 ranks and .*one with 3"):
        load_job([two.paths[0], three.paths[1]])
    later = made_ranks(tmp_path / "later", ranks=2, baseTimeNanoseconds=86_400_000_000_000)
    with pytest.raises(UsageError, match="24 hours apart"):
        load_job([two.paths[0], later.paths[1]])


def test_ranks_without_a_common_collective_stay_unaligned_and_are_said(tmp_path: Path) -> None:
    made = made_ranks(tmp_path, ranks=3)
    trace = json.loads(gzip.decompress(made.paths[2].read_bytes()))
    trace["traceEvents"] = [one for one in trace["traceEvents"] if "nccl" not in one["name"]]
    write(made.paths[2], trace)
    whole = load_trace(tmp_path)
    assert (whole.table("ranks")["clock_residual_ns"] >= 0).tolist() == [True, True, False]
    said = {one.name: one for one in whole.manifest.sources}["clocks"]
    assert said.status == "partial" and "rank 2: they have no collective in common" in str(
        said.reason
    )


def test_threads_and_processes_read_the_same(tmp_path: Path) -> None:
    made_ranks(tmp_path / "job", ranks=3)
    one, other = (
        load_job([tmp_path / "job"], local_threads),
        load_job([tmp_path / "job"], local_processes),
    )
    for name in TABLES:
        ours, theirs = one.table(name), other.table(name)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            pd.testing.assert_frame_equal(ours, theirs)
    assert one.manifests == other.manifests and one.span_ns == other.span_ns
