"""Full garbage collections that the program asks for are recorded with the frames that do."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perfscope.agent.probe import garbage_collections, stacks
from perfscope.traces.run_folder.events import GC, KINDS, VALUES

CALLER = VALUES[GC].index("caller")


class CollectionRecorder:
    """The part of a probe that times collections."""

    def __init__(self) -> None:
        self.kinds, self.live = KINDS, [1]
        self.records: list[tuple[int, ...]] = []
        self.texts: list[str] = []

    def register_text(self, kind: str, text: str) -> int:
        self.texts.append(text)
        return len(self.texts) - 1

    @property
    def callers(self) -> list[int]:
        """The callers of full collections, -1 for automatic ones."""
        return [row[4 + CALLER] for row in self.records if row[4] == garbage_collections.OLDEST]


@contextmanager
def recorded_collections(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectionRecorder]:
    """Record every collection while the context is open."""
    monkeypatch.setattr(garbage_collections, "MODULES", {"stacks": stacks})
    monkeypatch.setattr(garbage_collections, "SHORTEST_NS", 0)
    monkeypatch.setattr(
        stacks, "OWN_FILE", garbage_collections.__file__
    )  # as it is named in a target
    recorder: Any = CollectionRecorder()
    callback = garbage_collections.collection_timer(recorder)
    gc.callbacks.append(callback)
    thresholds = gc.get_threshold()
    try:
        yield recorder
    finally:
        gc.callbacks.remove(callback)
        gc.set_threshold(*thresholds)


def make_cycles(count: int) -> list[list[Any]]:
    """Return lists that refer to themselves."""
    cycles: list[list[Any]] = []
    for _ in range(count):
        cycle: list[Any] = []
        cycle.append(cycle)
        cycles.append(cycle)
    return cycles


def test_a_call_of_collect_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # so that none is due
    with recorded_collections(monkeypatch) as recorder:
        gc.collect()
        gc.collect(0)
    assert recorder.callers == [0]
    assert recorder.texts[0].startswith("test_a_call_of_collect_has_its_place (")
    assert "test_explicit_collections.py:" in recorder.texts[0]


def test_a_call_in_a_package_comes_after_the_programs_own_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: dict[str, Callable[[], None]] = {}
    text = "import gc\ndef free():\n    gc.collect()\n"
    exec(compile(text, "/x/site-packages/library/memory.py", "exec"), names)
    with recorded_collections(monkeypatch) as recorder:
        names["free"]()
    program, called = recorder.texts[0].split(";")
    assert called == "free (library/memory.py:3)"
    assert "test_explicit_collections.py:" in program


def test_an_automatic_collection_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded_collections(monkeypatch) as recorder:
        gc.set_threshold(100, 1, 1)
        kept = [make_cycles(200) for _ in range(2_000)]
    assert kept and recorder.callers and set(recorder.callers) == {-1}
