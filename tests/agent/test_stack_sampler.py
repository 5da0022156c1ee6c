"""The bounds of the memory that the sampler of Python stacks uses in the target, and of the time
that it takes.
"""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest

from perfscope.agent.probe import stacks
from perfscope.agent.probe.stacks import (
    FORGOTTEN_NS,
    LONGEST_LABEL,
    MOST_STACKS,
    MOST_THREADS,
    Sampler,
    SampleSchedule,
    install,
)

S = 1_000_000_000


class Queues:
    """The part of a probe that the sampler uses."""

    def __init__(self) -> None:
        self.notes: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.ticks: list[Callable[[int], None]] = []


def probe_of_queues() -> Any:
    return Queues()


@contextmanager
def sampler_of_another_thread() -> Iterator[Sampler]:
    """Yield a sampler that was created in another thread, which it does not sample."""
    created: list[Sampler] = []
    thread = threading.Thread(target=lambda: created.append(Sampler(probe_of_queues())))
    thread.start()
    thread.join()
    yield created[0]


def take_notes(sampler: Sampler) -> list[dict[str, Any]]:
    """Return the notes of the sampler since the last call."""
    notes = sampler.probe.notes
    return [notes.get_nowait() for _ in range(notes.qsize())]


@contextmanager
def waiting_threads(count: int) -> Iterator[list[threading.Thread]]:
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_sample_keeps_no_local_variable_alive() -> None:
    """A frame among those that it holds would be a cycle, which lives until a collection."""
    kept: list[weakref.ref[Queues]] = []
    begun, over = threading.Event(), threading.Event()

    def use_local_variable() -> None:
        local = Queues()
        kept.append(weakref.ref(local))
        begun.set()
        over.wait()

    thread = threading.Thread(target=use_local_variable)
    gc.disable()
    try:
        thread.start()
        begun.wait()
        with sampler_of_another_thread() as sampler:
            sampler.tick(time.monotonic_ns() + S)
            assert any("use_local_variable" in str(note) for note in take_notes(sampler))
        over.set()
        thread.join()
        assert kept[0]() is None
    finally:
        gc.enable()


def test_the_number_of_known_stacks_is_bounded_in_target_and_agent() -> None:
    held = set()
    with sampler_of_another_thread() as sampler:
        for number in range(MOST_STACKS + 500):
            sampler.report(f"f{number} (a.py:{number})", 1, number, 1)
            for note in take_notes(sampler):
                held |= {note["number"]} if note["note"] == "stack-text" else set()
                held -= set(note.get("numbers", ()))
        assert len(sampler.known) == MOST_STACKS == len(held)
        assert all(isinstance(key, int) for key in sampler.known)


def test_a_stack_that_was_forgotten_is_sent_again_under_a_new_number() -> None:
    with sampler_of_another_thread() as sampler:
        sampler.report("f (a.py:1)", 1, 0, 1)
        sampler.sweep(FORGOTTEN_NS + 1, {})
        sampler.report("f (a.py:1)", 1, FORGOTTEN_NS + 2, 1)
        notes = take_notes(sampler)
    assert [note["number"] for note in notes if note["note"] == "stack-text"] == [0, 1]
    assert [note["numbers"] for note in notes if note["note"] == "forgotten-stacks"] == [[0]]
    assert [note["stack"] for note in notes if "stack" in note] == [0, 1]


def test_code_that_the_program_has_dropped_is_freed() -> None:
    space: dict[str, Any] = {}
    exec("import sys\ndef made(): return sys._getframe()", space)
    code = weakref.ref(space["made"].__code__)
    with sampler_of_another_thread() as sampler:
        assert "made" in sampler.folded_stack(space["made"]())
        space.clear()
        assert code() is not None
        sampler.sweep(sampler.swept_ns, {})
    assert code() is None


def test_a_label_is_short_however_long_a_name_is() -> None:
    space: dict[str, Any] = {}
    name = "f" * 5000
    exec(
        compile(f"import sys\ndef {name}(): return sys._getframe()", "/tmp/" + "p" * 5000, "exec"),
        space,
    )
    with sampler_of_another_thread() as sampler:
        label = sampler.make_label(space[name].__code__, 0)
    assert 0 < len(label) < 2 * LONGEST_LABEL + 50


def test_many_threads_take_turns_and_their_weights_are_the_elapsed_time() -> None:
    weights: dict[int, int] = {}
    with waiting_threads(3 * MOST_THREADS) as threads, sampler_of_another_thread() as sampler:
        begin = sampler.last_ns
        most = 0
        for number in range(1, 9):
            sampler.schedule.due_ns = 0
            sampler.tick(begin + number * S)
            samples = [note for note in take_notes(sampler) if "stack" in note]
            most = max(most, len(samples))
            for note in samples:
                weights[note["tid"]] = weights.get(note["tid"], 0) + note["weight_ns"]
        assert most <= MOST_THREADS + 1
        assert {thread.native_id for thread in threads} <= weights.keys()
    assert weights[threading.main_thread().native_id or 0] == 8 * S


def test_the_pause_after_an_expensive_sample_is_not_limited() -> None:
    schedule = SampleSchedule()
    schedule.add_sample(cpu_ns=S, wall_ns=S, ended_ns=0)
    assert schedule.due_ns >= 400 * S


def test_a_sampler_that_lost_its_core_continues() -> None:
    schedule = SampleSchedule()
    schedule.add_sample(cpu_ns=50_000, wall_ns=S, ended_ns=0)
    assert schedule.due_ns <= S


def test_on_full_cores_samples_are_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = SampleSchedule()
    free_ns = due_after(schedule, monkeypatch, waited_ns=1_000)
    assert due_after(schedule, monkeypatch, waited_ns=10_000_000) > 2 * free_ns


def due_after(schedule: SampleSchedule, monkeypatch: pytest.MonkeyPatch, waited_ns: int) -> int:
    """Return the pause after a sample, where this thread waited so long for a core at each turn."""
    waited, turns = schedule.waits
    monkeypatch.setattr(stacks, "run_queue_waits", lambda: (waited + 100 * waited_ns, turns + 100))
    ended_ns = time.monotonic_ns() + 100 * S
    schedule.checked_ns = 0
    schedule.add_sample(cpu_ns=200_000, wall_ns=200_000, ended_ns=ended_ns)
    return schedule.due_ns - ended_ns


@pytest.mark.parametrize(("answer", "parts"), [(lambda: False, 0), (lambda: True, 1)])
def test_no_frame_is_read_in_a_free_threaded_interpreter(
    answer: Callable[[], bool], parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", answer, raising=False)
    probe = probe_of_queues()
    install(probe)
    assert len(probe.ticks) == parts
