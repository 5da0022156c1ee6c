"""What is found in the trace of a window while it is compressed."""

import io
import os
from dataclasses import replace

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


def contents_of(text: bytes) -> TraceContents:
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
def test_a_mark_is_found_wherever_it_is_in_the_trace(before: int) -> None:
    nothing = TraceContents(
        is_whole=True, has_unfinished=False, has_kernels=False, has_operators=False
    )
    found = {
        UNFINISHED: replace(nothing, has_unfinished=True),
        KERNEL: replace(nothing, has_kernels=True),
        OPERATOR: replace(nothing, has_operators=True),
        UNFINISHED[1:]: nothing,
    }
    for mark, contents in found.items():
        assert contents_of(b" " * before + mark + b"}") == contents


def test_a_trace_that_was_cut_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_store, "LARGEST_TRACE_BYTES", CHUNK_BYTES)
    assert not contents_of(b" " * (2 * CHUNK_BYTES)).is_whole
