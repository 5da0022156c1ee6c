"""Steps of every kind of loop: one step per outer iteration."""

import numpy as np
import pytest

from perfscope.analyzer.run.loops.outer_loop import Loop as OuterLoop
from perfscope.analyzer.run.loops.steps import LoopFrame, batches_of, steps, trainers
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop, trace_of_two_ranks


def rows(trace: Trace, phase: str | None = None) -> list[tuple[float, float]]:
    """Return (start, duration) in ms of the steps of one phase, or of all phases."""
    frame = trace.fact(steps)
    if phase is not None:
        frame = frame[frame["phase"] == phase]
    return [(ts / MS, dur / MS) for ts, dur in zip(frame["ts"], frame["dur"], strict=True)]


def test_a_plain_loop_has_a_step_per_batch() -> None:
    loop = Loop()
    for _ in range(4):
        loop.next(4).work()
    assert rows(loop.trace(), "train") == [(10, 10), (20, 10)]


def test_a_step_ends_where_the_loop_requests_the_next_batch() -> None:
    loop = Loop()
    for _ in range(4):
        loop.next(4).work().idle(5)
    assert rows(loop.trace()) == [(15, 15), (30, 15)]


def test_a_step_with_gradient_accumulation_counts_its_micro_steps() -> None:
    loop = Loop()
    for _ in range(4):
        loop.next().forward().backward().next().forward().backward().next().forward().backward().optimizer()
    frame = loop.trace().fact(steps)
    assert list(frame["dur"] / MS) == [19, 19]
    assert list(frame["micro_steps"]) == [3, 3]


def test_two_optimizers_in_one_iteration_are_one_step() -> None:
    loop = Loop()
    for _ in range(5):
        loop.next().forward(module=1).backward().optimizer(code=1).forward(
            module=2
        ).backward().optimizer(code=2)
    assert rows(loop.trace()) == [(13, 13), (26, 13), (39, 13)]


def test_optimizers_inside_backward_are_one_step() -> None:
    loop = Loop()
    for _ in range(4):
        loop.next().forward()
        begun = loop.at
        loop.optimizer(1, code=1).optimizer(1, code=2).optimizer(1, code=3)
        loop.at = begun
        loop.backward(4)
    assert rows(loop.trace()) == [(7, 7), (14, 7)]


def test_a_step_that_the_scaler_skips_is_a_step() -> None:
    loop = Loop()
    for skipped in (False, True, True, False, False):
        loop.next().forward().backward()
        begun = loop.at
        if not skipped:
            loop.optimizer(1)
        loop.at = begun
        loop.call("scaler", 1)
    assert rows(loop.trace()) == [(7, 7), (14, 7), (21, 7)]


def test_a_loop_that_asks_one_batch_ahead_has_a_step_per_batch() -> None:
    loop = Loop().next(iterator=1)
    for epoch in (1, 2, 3):
        for _ in range(2):
            loop.next(iterator=epoch).work()
        loop.end(iterator=epoch).work()
        loop.start(iterator=epoch + 1).next(iterator=epoch + 1)
    # Each iteration is 1 ms for the batch (or the end) and 6 of work; after the end of an epoch, 2
    # more to build the iterator.
    assert rows(loop.trace()) == [
        (8, 7),
        (15, 7),
        (22, 9),
        (31, 7),
        (38, 7),
        (45, 9),
        (54, 7),
        (61, 7),
    ]


def test_epochs_belong_to_the_step_that_begins_them() -> None:
    loop = Loop()
    for epoch in (1, 2, 3):
        loop.start(5, iterator=epoch)
        for _ in range(3):
            loop.next(iterator=epoch).work()
        loop.end(2, iterator=epoch)
    assert [dur for _, dur in rows(loop.trace())] == [7, 7, 14, 7, 7, 14, 7, 7]


def test_evaluation_between_steps_belongs_to_no_step() -> None:
    loop = Loop()
    for epoch in range(2):
        for _ in range(3):
            loop.next(iterator=10 + epoch).work()
        loop.end(2, iterator=10 + epoch)
        loop.start(1, iterator=20 + epoch, loader=2)
        for _ in range(2):
            loop.next(iterator=20 + epoch, loader=2).forward(4, training=0)
        loop.end(1, iterator=20 + epoch, loader=2)
        loop.idle(3).start(1, iterator=11 + epoch)
    trace = loop.trace()
    # The end of the iterator belongs to the step before the evaluation, and what follows the
    # evaluation to the step after it.
    assert rows(trace, "train") == [(7, 7), (14, 9), (35, 11), (46, 7), (53, 9)]
    assert rows(trace, "eval") == [(23, 6), (29, 6), (62, 6), (68, 6)]


def test_an_evaluation_without_the_end_of_its_iterator_ends_with_its_last_module_call() -> None:
    loop = Loop()
    for epoch in (5, 6, 7, 8):
        loop.next().work()
        loop.start(1, iterator=epoch, loader=2).next(iterator=epoch, loader=2).forward(
            4, training=0
        )
        loop.idle(2)
    trace = loop.trace()
    assert rows(trace, "eval") == [(7, 6), (22, 6), (37, 6), (52, 6)]
    assert rows(trace, "train") == [(15, 7), (28, 9)]


def test_an_evaluation_inside_an_accumulating_step_does_not_belong_to_it() -> None:
    loop = Loop()
    for run in (2, 3, 4, 5):
        loop.next().forward().backward()
        loop.next(iterator=run, loader=2).forward(4, training=0).next(
            iterator=run, loader=2
        ).forward(4, training=0)
        loop.end(iterator=run, loader=2)
        loop.next().forward().backward().optimizer()
    frame = loop.trace().fact(steps)
    train = frame[frame["phase"] == "train"]
    assert list(train["dur"] / MS) == [13, 13]
    assert list(train["cut"] / MS) == [11, 11]
    assert list(train["micro_steps"]) == [2, 2]


def test_an_evaluation_without_a_loader_has_its_steps() -> None:
    loop = Loop()
    for _ in range(4):
        loop.idle(2).work().idle(1)
        loop.forward(4, training=0).forward(4, training=0)
    trace = loop.trace()
    assert rows(trace, "eval") == [
        (9, 4),
        (13, 4),
        (26, 4),
        (30, 4),
        (43, 4),
        (47, 4),
        (60, 4),
        (64, 4),
    ]
    assert [dur for _, dur in rows(trace, "train")] == [9, 9, 9]


def test_a_rare_single_call_in_evaluation_mode_is_an_evaluation() -> None:
    loop = Loop()
    for _ in range(3):
        for _ in range(5):
            loop.idle(2).work()
        loop.forward(40, training=0)
    trace = loop.trace()
    assert rows(trace, "eval") == [(40, 40), (120, 40), (200, 40)]
    assert max(dur for _, dur in rows(trace, "train")) == 8


def test_an_agent_that_acts_before_each_update_does_not_evaluate() -> None:
    loop = Loop()
    for _ in range(12):
        loop.forward(4, training=0).work()
    assert rows(loop.trace(), "eval") == []


@pytest.mark.parametrize(
    ("function", "evaluates"),
    [("Estimator.validate", True), ("test_epoch", True), ("collect", False), ("act", False)],
)
def test_calls_without_gradients_evaluate_where_a_function_is_named_so(
    function: str, *, evaluates: bool
) -> None:
    loop, stacks = Loop(), []
    for _ in range(4):
        loop.idle(2).work()
        begin = loop.at
        loop.forward(10, training=2).forward(10, training=2)
        for at in range(begin, loop.at, 2 * MS):
            stack = f"main (./train.py:9);{function} (./train.py:30)"
            stacks.append({"process": 0, "tid": 100, "ts": at, "weight_ns": MS, "stack": stack})
    found = rows(loop.trace(outside_stacks=stacks), "eval")
    assert [dur for _, dur in found] == ([10] * 8 if evaluates else [])


def test_a_loader_that_is_made_for_each_batch_feeds_training() -> None:
    loop = Loop()
    for number in range(4):
        loop.start(30, iterator=number, loader=number)
        loop.next(10, iterator=number, loader=number).work()
    assert rows(loop.trace()) == [(46, 46), (92, 46)]


def test_a_frozen_teacher_is_not_an_evaluation() -> None:
    loop = Loop()
    for _ in range(4):
        loop.next().forward(3, module=9, training=0).forward(3, module=9, training=0).work()
    assert rows(loop.trace()) == [(13, 13), (26, 13)]


def test_without_a_loader_the_rarest_optimizer_ends_the_step() -> None:
    loop = Loop()
    for _ in range(6):
        for _ in range(5):
            loop.forward(module=1).backward().optimizer(code=1)
        loop.forward(module=2).backward().optimizer(code=2)
    assert rows(loop.trace()) == [(36, 36), (72, 36), (108, 36), (144, 36), (180, 36)]


def test_without_a_loader_the_last_of_equally_frequent_optimizers_ends_the_step() -> None:
    loop = Loop()
    for _ in range(4):
        loop.idle(10).forward().backward().optimizer(code=2).forward().backward().optimizer(code=1)
    assert rows(loop.trace()) == [(22, 22), (44, 22), (66, 22)]


def test_without_a_loader_an_optimizer_that_steps_for_each_group_makes_one_step() -> None:
    loop = Loop()
    for _ in range(6):
        loop.forward().backward().optimizer().optimizer().optimizer()
    assert [dur for _, dur in rows(loop.trace())] == [8] * 5


def test_without_a_loader_optimizers_inside_backward_make_one_step() -> None:
    loop = Loop()
    for _ in range(6):
        begun = loop.forward().at
        for code in range(1, 5):  # one for each parameter
            loop.idle(0.5).optimizer(0.5, code=code)
        end, loop.at = loop.at, begun
        loop.backward(4)
        assert loop.at == end
    assert [dur for _, dur in rows(loop.trace())] == [6] * 5


def test_without_a_loader_a_step_that_the_scaler_skips_is_a_step() -> None:
    loop = Loop()
    for skipped in (False, True, False, False):
        loop.forward().backward()
        begun = loop.at
        if not skipped:
            loop.optimizer(1)
        loop.at = begun
        loop.call("scaler", 1)
    assert rows(loop.trace()) == [(6, 6), (12, 6), (18, 6)]


def test_a_loader_of_another_thread_does_not_divide_the_loop() -> None:
    loop, fetcher = Loop(), Loop(tid=200)
    for _ in range(5):
        loop.idle(1).work()
        fetcher.next(2).next(2)
    trace = build.trace(loader=fetcher.tables["loader"], ranges=loop.tables["ranges"])
    assert [dur for _, dur in rows(trace)] == [7, 7, 7, 7]


def test_with_many_updates_per_batch_the_optimizer_ends_the_step() -> None:
    loop = Loop().next()
    for _ in range(30):
        loop.work()
    loop.next().work()
    assert len(rows(loop.trace())) == 30


def test_backward_without_an_optimizer_is_training() -> None:
    loop = Loop()
    for _ in range(4):
        loop.next().forward().backward()
    assert rows(loop.trace(), "train") == [(6, 6), (12, 6)]


def test_steps_of_inference_are_from_batch_to_batch() -> None:
    loop = Loop()
    for _ in range(5):
        loop.next().forward(4, training=0).idle(1)
    assert rows(loop.trace(), "inference") == [(6, 6), (12, 6), (18, 6)]


def test_the_restart_of_workers_belongs_to_a_step_of_inference() -> None:
    loop = Loop()
    for epoch in (1, 2):
        loop.start(8, iterator=epoch)
        for _ in range(3):
            loop.next(iterator=epoch).forward(4, training=0)
        loop.end(iterator=epoch)
    assert [dur for _, dur in rows(loop.trace(), "inference")] == [5, 5, 14, 5, 5]


def test_steps_of_inference_without_a_loader_are_from_call_to_call() -> None:
    loop = Loop()
    for _ in range(5):
        loop.idle(3).forward(4, training=0)
    assert rows(loop.trace(), "inference") == [(3, 7), (10, 7), (17, 7), (24, 7)]


def test_steps_of_inference_with_two_modules_begin_with_the_first() -> None:
    loop = Loop()
    for _ in range(5):
        loop.idle(10).forward(2, module=7, training=0).forward(3, module=3, training=0)
    assert rows(loop.trace(), "inference") == [(10, 15), (25, 15), (40, 15), (55, 15)]


def test_steps_of_inference_on_overlapping_threads_are_the_calls() -> None:
    first, second = Loop(tid=1), Loop(tid=2)
    second.idle(3)
    for _ in range(3):
        first.forward(5, training=0).idle(5)
        second.forward(5, training=0).idle(5)
    trace = build.trace(ranges=first.tables["ranges"] + second.tables["ranges"])
    assert rows(trace, "inference") == [(0, 5), (3, 5), (10, 5), (13, 5), (20, 5), (23, 5)]
    assert list(trace.fact(steps)["tid"]) == [1, 2, 1, 2, 1, 2]


def test_compiling_steps_are_warm_up() -> None:
    loop = Loop()
    for index in range(20):
        loop.next().forward(500 if index < 4 else 2).backward().optimizer()
    frame = loop.trace().fact(steps)
    assert list(frame["phase"][:3]) == ["warmup"] * 3
    assert set(frame["phase"][3:]) == {"train"}


def test_a_worker_restart_is_not_warm_up() -> None:
    loop = Loop().next().work()
    for index in range(20):
        if index < 2:
            loop.start(500)
        loop.next().work()
    assert set(loop.trace().fact(steps)["phase"]) == {"train"}


def test_each_rank_has_its_steps() -> None:
    first, second = Loop(), Loop(process=1, tid=101)
    for _ in range(4):
        first.next().work()
        second.next(2).work()
    frame = trace_of_two_ranks(first, second).fact(steps)
    assert list(frame["rank"]) == [0, 0, 1, 1]
    assert list(frame["dur"] / MS) == [7, 7, 8, 8]


@pytest.mark.parametrize("tables", [{}, {"loader": []}, {"ranges": []}])
def test_an_empty_trace_has_no_steps(tables: dict[str, list[dict[str, object]]]) -> None:
    assert len(build.trace(**tables).fact(steps)) == 0


def test_a_step_that_ends_before_it_begins_takes_no_time() -> None:
    """Damaged recordings have such times; the budget of a step must not be negative."""
    loop = OuterLoop(np.array([0, 10]), np.array([10, 5]))
    frame = LoopFrame(100, batches_of(None, -1), None).of(loop, "train", np.ones(2, np.int64))
    assert frame["dur"].tolist() == [10, 0]


def test_a_child_in_which_only_garbage_is_collected_does_not_train() -> None:
    loop = Loop()
    for _ in range(3):
        loop.next(0.1, queue_depth=1).work()
    ranges = loop.trace().table("ranges")
    assert ranges is not None
    collected = {**ranges.iloc[0].to_dict(), "process": 1, "category": "gc", "name": "gc"}
    called = {**collected, "process": 2, "category": "forward", "name": "Linear"}
    roles = [{"process": number, "role": "other", "rank": 0} for number in (1, 2)]
    processes = [{"process": 0, "role": "main", "rank": 0}, *roles]
    rows = [*ranges.to_dict("records"), collected, called]
    assert trainers(build.trace(ranges=rows, processes=processes)) == [(0, 0), (2, 0)]
