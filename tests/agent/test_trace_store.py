"""What is seen in the trace of a window while it is packed."""

import io
import os

import pytest

from perfscope.agent.profiler_windows import trace_store
from perfscope.agent.profiler_windows.trace_store import (
    CHUNK_BYTES,
    KERNEL,
    OPERATOR,
    UNFINISHED,
    TraceContents,
    compress_trace,
)


def packed(text: bytes) -> TraceContents:
    file = os.memfd_create("trace")
    try:
        os.pwrite(file, text, 0)
        return compress_trace(file, io.BytesIO())
    finally:
        os.close(file)


@pytest.mark.parametrize(
    "before",
    [0, 1, CHUNK_BYTES - len(UNFINISHED) + 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 7],
)
def test_an_event_that_was_open_is_seen_wherever_it_is_in_the_trace(before: int) -> None:
    assert packed(b" " * before + UNFINISHED + b"}") == TraceContents(True, True, False, False)
    assert packed(b" " * before + KERNEL + b"}") == TraceContents(True, False, True, False)
    assert packed(b" " * before + OPERATOR + b"}") == TraceContents(True, False, False, True)
    assert packed(b" " * before + UNFINISHED[1:] + b"}") == TraceContents(True, False, False, False)


def test_a_trace_that_was_cut_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_store, "LARGEST_TRACE_BYTES", CHUNK_BYTES)
    assert not packed(b" " * (2 * CHUNK_BYTES)).is_whole
