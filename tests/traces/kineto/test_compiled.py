"""The compiled reader and the one in Python give the same columns, whatever the text."""

import json
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfscope.traces import nesting
from perfscope.traces.kineto.columns import CodedNames
from perfscope.traces.kineto.compiled_parser import is_available, parse_compiled
from perfscope.traces.kineto.layout import ParsedPiece
from perfscope.traces.kineto.piece_parser import parse_in_python
from perfscope.traces.kineto.pieces import Pieces
from perfscope.traces.kineto.text import TraceText
from tests.traces.kineto.events import ODD_PIECES, event, kernel, launch
from tests.traces.kineto.recorded import WHERE, each_recorded

pytestmark = pytest.mark.skipif(not is_available(), reason="installed without a compiler")


def plain(part: ParsedPiece) -> Any:
    """Return a part in a form that can be compared."""
    columns = {
        group: {
            name: ([column.names[code] if code >= 0 else None for code in column.codes])
            if isinstance(column, CodedNames)
            else (column.dtype, column.tolist())
            for name, column in columns.items()
        }
        for group, columns in part.groups.items()
    }
    return columns, part.meta, part.left_out, part.events, part.ended_at


def same_or_refused(piece: bytes) -> bool:
    """Assert that both readers agree unless the compiled reader refuses; return whether it read."""
    compiled = parse_compiled(piece)
    if compiled is None:
        return False
    assert plain(compiled) == plain(parse_in_python(piece))
    return True


@pytest.mark.parametrize("text", ODD_PIECES)
def test_unusual_texts_are_read_alike_or_refused(text: str) -> None:
    same_or_refused(text.encode())
    around = json.dumps(event()).encode()
    same_or_refused(around + b"," + text.encode() + b"," + around)


def test_the_compiled_reader_accepts_what_profilers_write() -> None:
    assert same_or_refused(
        json.dumps([event(), kernel(), launch(ts=1.5, dur=0.1234567)])[1:-1].encode()
    )
    assert same_or_refused(
        '{"ph":"X","cat":"cpu_op","name":"a\\"é\\u00e9","ts":"12.5","dur":1}'.encode()
    )
    assert same_or_refused(b'{"ph":"M","name":"process_name","pid":1,"args":{"name":"python"}}]}')


@pytest.mark.shared_traces
@WHERE
@each_recorded()
def test_recorded_traces_with_changed_bytes_are_read_alike_or_refused(path: Any) -> None:
    chance = random.Random(path.name)
    for piece in list(Pieces(TraceText(path)))[:2]:
        assert same_or_refused(bytes(piece))
        short = bytearray(piece[: 20_000 + chance.randrange(20_000)])
        for _ in range(20):
            damaged = bytearray(short)
            for _ in range(chance.choice((1, 3))):
                damaged[chance.randrange(len(damaged))] = chance.choice(
                    b'"\\{}[],:.0-9eE \x00\xffn'
                )
            try:
                same_or_refused(bytes(damaged))
            except msgspec.DecodeError as error:
                pytest.fail(f"only the compiled reader takes it: {error}")


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.decimals(-(10**16), 10**16, places=4).map(lambda value: float(value)),
    st.integers(0, 10**17).map(lambda value: f"{value // 1000}.{value % 1000:03d}"),
    st.none(),
    st.booleans(),
    st.text(max_size=5),
)
EVENTS = st.fixed_dictionaries(
    {
        "ph": st.sampled_from(["X", "M", "i", "f", 1]),
        "cat": st.sampled_from(["cpu_op", "kernel", "gpu_memcpy", "other", None]),
    },
    optional={
        "name": st.one_of(st.text(max_size=8), st.sampled_from(["[memory]", "aten::mm"]), NUMBERS),
        "ts": NUMBERS,
        "dur": NUMBERS,
        "pid": NUMBERS,
        "tid": NUMBERS,
        "args": st.dictionaries(
            st.sampled_from(
                ["stream", "device", "correlation", "Input Dims", "dtype", "Bytes", "other"]
            ),
            st.one_of(NUMBERS, st.lists(st.integers(), max_size=3)),
            max_size=4,
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=4), st.booleans())
def test_values_of_any_type_are_read_alike_or_refused(events: list[Any], tidy: bool) -> None:
    same_or_refused(json.dumps(events, ensure_ascii=tidy)[1:-1].encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.decimals(-(10**15), 10**15, allow_nan=False, places=None))
def test_any_time_is_read_alike_or_refused(us: Any) -> None:
    text = f"{us:f}"
    for ts in (text, f'"{text}"'):
        same_or_refused(b'{"ph":"X","cat":"cpu_op","name":"a","dur":0,"ts":' + ts.encode() + b"}")


def test_columns_are_int64_and_int32() -> None:
    part = parse_compiled(json.dumps(kernel()).encode())
    assert part is not None
    assert {
        column.dtype for column in part.groups["kernels"].values() if isinstance(column, np.ndarray)
    } == {np.dtype(np.int64)}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 30), st.booleans()),
        max_size=40,
    )
)
def test_the_compiled_and_the_plain_code_find_the_same_enclosing_events(
    rows: list[tuple[int, int, int, bool]],
) -> None:
    thread, start, dur = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    holds = np.array([row[3] for row in rows], bool)
    found = nesting.enclosing(thread, start, start + dur, holds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nesting, "COMPILED", None)
        assert nesting.enclosing(thread, start, start + dur, holds).tolist() == found.tolist()
