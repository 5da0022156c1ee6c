"""What a folder contains: which traces are the ranks of one job, and memory snapshots."""

import gzip
import pickle
from pathlib import Path

import pytest

from perfscope.errors import UsageError
from perfscope.traces.folder_contents import contents
from perfscope.traces.memory_snapshot import is_memory_snapshot
from perfscope.ui.dashboard.open_runs import Library
from tests.traces.kineto.events import event, write_events


def write_trace(path: Path, world_size: int | None = None) -> None:
    """Write a small trace, which declares the size of its job."""
    info = "" if world_size is None else f'"distributedInfo": {{"world_size": {world_size}}},'
    write_events(path, [event("aten::mm")])
    text = path.read_text()
    path.write_text("{" + info + text.lstrip()[1:])


def jobs_of(folder: Path) -> dict[str, set[str]]:
    """Return the names of the parts of each job, by the name of its entry."""
    entries = contents(folder)
    names = {entry.id: entry.name for entry in entries}
    jobs: dict[str, set[str]] = {entry.name: set() for entry in entries if entry.parts}
    for entry in entries:
        if entry.job:
            jobs[names[entry.job]].add(entry.path.name)
    return jobs


def test_ranks_of_one_name_are_a_job_and_unrelated_traces_are_not(tmp_path: Path) -> None:
    names = (
        "llm_rank0.json",
        "llm_rank1.json",
        "llm_rank10.json",
        "vit_rank0.json",
        "cnn-rank1.json",
    )
    for name in names:
        write_trace(tmp_path / name)
    job = f"{tmp_path.name}/llm_rank*.json (3 ranks)"
    assert jobs_of(tmp_path) == {job: {"llm_rank0.json", "llm_rank1.json", "llm_rank10.json"}}


def test_ranks_with_times_in_their_names_are_a_job(tmp_path: Path) -> None:
    for rank in range(2):
        write_trace(tmp_path / f"node_rank{rank}.17000000{rank}5.pt.trace.json", 2)
    assert [len(parts) for parts in jobs_of(tmp_path).values()] == [2]
    assert next(iter(jobs_of(tmp_path))).endswith("/ (2 ranks)")


def test_traces_of_jobs_of_other_sizes_are_not_one_job(tmp_path: Path) -> None:
    write_trace(tmp_path / "a_rank0.json", 8)
    write_trace(tmp_path / "a_rank1.json", 16)
    assert jobs_of(tmp_path) == {}


def test_a_damaged_rank_is_left_out_of_its_job(tmp_path: Path) -> None:
    for rank in range(3):
        write_trace(tmp_path / f"rank{rank}.json")
    (tmp_path / "rank2.json").write_text('{"traceEvents": [{"ph": ')
    (job,) = [entry for entry in contents(tmp_path) if entry.parts]
    trace = job.load()
    assert len(job.parts) == 3 and trace.path == tmp_path
    assert any("rank2.json" in line for line in trace.manifest.dropped)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_memory_snapshot_is_listed_and_not_opened(tmp_path: Path, protocol: int) -> None:
    segment = {"device": 0, "address": 1, "total_size": 2, "allocated_size": 1, "blocks": []}
    snapshot = pickle.dumps({"segments": [segment], "device_traces": []}, protocol)
    (tmp_path / "memory.pickle").write_bytes(snapshot)
    (tmp_path / "weights.pickle").write_bytes(pickle.dumps({"weights": [1, 2]}, protocol))
    (tmp_path / "packed.pickle").write_bytes(gzip.compress(snapshot))
    (entry,) = contents(tmp_path)
    assert entry.is_snapshot and not entry.run
    with pytest.raises(UsageError, match=r"_memory_viz trace_plot memory\.pickle"):
        Library(tmp_path).get(entry.id)


def test_a_pipe_is_not_taken_for_a_snapshot(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.pickle")
    assert not is_memory_snapshot(tmp_path / "pipe.pickle")
