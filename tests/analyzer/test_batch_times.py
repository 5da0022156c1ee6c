"""The time between the batches of a loop, and the part of it that the loop waits."""

from perfscope.analyzer.input.batch_times import batch_times
from tests.build import MAIN, trace


def test_batch_times_of_a_loop_with_a_loader_are_between_its_batches() -> None:
    asked = [
        {"process": 0, "ts": ts, "dur": 4, "kind": "next", "end": end, "queue_depth": depth}
        for ts, end, depth in ((0, 0, 2), (10, 0, 1), (30, 0, 0), (40, 1, 0))
    ]
    rows = batch_times(trace(processes=[MAIN], loader=asked))
    assert rows[["rank", "ts", "period", "wait", "queue_depth"]].to_numpy().tolist() == [
        [0, 14, 10, 4, 1],
        [0, 34, 20, 4, 0],
    ]


def test_without_a_loader_batch_times_are_between_optimizer_steps_and_waits_are_unknown() -> None:
    steps = [
        {"process": 0, "ts": ts, "dur": 2, "category": "optimizer", "name": "SGD"}
        for ts in (0, 10, 25)
    ]
    rows = batch_times(trace(processes=[MAIN], ranges=steps))
    assert rows[["ts", "period", "wait"]].to_numpy().tolist() == [[12, 10, -1], [27, 15, -1]]


def test_an_empty_trace_has_no_batch_times() -> None:
    assert len(batch_times(trace())) == 0 and len(batch_times(trace(processes=[MAIN]))) == 0
