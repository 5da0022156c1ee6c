"""Traces of several ranks in one file are read as ranks, by the ids of their processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy.kineto import ProcessRecording, Workload, write_json
from perfscope.traces.kineto.ranked_ids import (
    checksums_in,
    number_of_ranked_id,
    numbers_without_rank,
)
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace

STEPS = range(3, 9)
EXCHANGING = Workload(all_reduce_us=350.0)


def recordings(count: int, *, device: int | None = None) -> list[ProcessRecording]:
    """Return the recordings of ranks, each on a device of its own unless `device` is given."""
    made = []
    for rank in range(count):
        recording = ProcessRecording(
            rank=rank, ranks=count, device=rank if device is None else device, pid=83 + rank
        )
        recording.train(STEPS, EXCHANGING)
        made.append(recording)
    return made


def written(path: Path, made: list[ProcessRecording], **fields: Any) -> Path:
    """Write the events of all recordings into one file, in order of time."""
    events = [event for recording in made for event in recording.events]
    document = made[-1].to_document(
        traceEvents=sorted(events, key=lambda event: event["ts"]), **fields
    )
    del document["distributedInfo"]
    write_json(path, document)
    return path


def ranks_of(trace: Trace) -> list[int]:
    """Return the rank of each process."""
    return [int(rank) for rank in trace.table("processes")["rank"]]


def kernels_per_launching_process(trace: Trace) -> dict[int, set[int]]:
    """Return the devices on which each process ran kernels."""
    kernels = trace.table("kernels")
    assert kernels is not None
    return {
        int(process): set(rows["device"].tolist()) for process, rows in kernels.groupby("process")
    }


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("[TP{rank:02}-DP00-PP00-EP00] {pid}", [0, 1, 2]),
        ("rank{rank} {pid}", [0, 1, 2]),
        ("Rank {other}: {pid}", [4, 5, 6]),
        ("host-a/rank_{other}/{pid}", [4, 5, 6]),
    ],
)
def test_ids_with_a_rank_tell_the_ranks_apart(
    tmp_path: Path, form: str, expected: list[int]
) -> None:
    made = recordings(3)
    for rank, recording in enumerate(made):
        for event in recording.events:
            event["pid"] = form.format(rank=rank, other=rank + 4, pid=event["pid"])
    trace = load_trace(written(tmp_path / "merged.json", made))
    assert ranks_of(trace) == expected
    assert trace.table("processes")["pid"].tolist() == [83, 84, 85]
    assert kernels_per_launching_process(trace) == {0: {0}, 1: {1}, 2: {2}}
    kernels, launches = trace.table("kernels"), trace.table("launches")
    assert kernels is not None and launches is not None
    started = launches.iloc[kernels["launch"].to_numpy()]
    assert (started["process"].to_numpy() == kernels["process"].to_numpy()).all()
    assert len(trace.table("collectives")) == 3 * len(STEPS)


def test_one_process_with_two_devices_is_one_rank(tmp_path: Path) -> None:
    recording = ProcessRecording(rank=0)
    for recording.device in (0, 1):
        recording.train(STEPS)
    trace = load_trace(written(tmp_path / "trace.json", [recording]))
    assert ranks_of(trace) == [0]
    assert kernels_per_launching_process(trace) == {0: {0, 1}}


def test_a_process_that_launches_nothing_is_not_a_rank(tmp_path: Path) -> None:
    made = recordings(1)
    helper = ProcessRecording(rank=0, pid=90)
    for _ in range(100):
        helper.add_operator("aten::add", [[2]])
    trace = load_trace(written(tmp_path / "trace.json", [*made, helper]))
    assert set(ranks_of(trace)) == {0} and trace.table("ranks")["rank"].tolist() == [0]


def test_numbers_of_ids_with_ranks_are_apart_from_all_others() -> None:
    texts = ["[TP00-DP01] 7", "[TP01-DP01] 7", "rank0 4294"]
    numbers = np.array([number_of_ranked_id(text) for text in texts], np.int64)
    assert numbers_without_rank(numbers).tolist() == [7, 7, 4294]
    assert len(set(checksums_in(numbers).tolist())) == 3
    others = np.array([-1, 0, 83, 2**40, -(2**57)], np.int64)
    assert checksums_in(others).tolist() == [-1] * 5
    assert numbers_without_rank(others).tolist() == others.tolist()
    for text in ("Spans", "stream 7", "rank", "83", "cuda", "x" * 500 + " rank0 1", "TP 1"):
        assert number_of_ranked_id(text) is None, text
