"""Damaged and unusual trace files: an error of one line, or the valid events and a count of the
others.
"""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfscope.errors import UnreadableRun
from perfscope.traces.kineto import layout, text
from perfscope.traces.load import load_trace
from tests.traces.comparison import refusal_to_read
from tests.traces.kineto.events import event, kernel, launch, write_events

GOOD = [event(ts=1, dur=50), launch(ts=5, dur=2), kernel(ts=20, dur=9)]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n" + bytes(range(200)), b"null", b"[]", b"{}", b'{"traceEvents":[]}'],
)
def test_a_file_that_is_not_a_trace_is_refused_with_the_formats_that_can_be_read(
    tmp_path: Path, content: bytes
) -> None:
    for name in ("a.json", "a.bin"):
        (tmp_path / name).write_bytes(content)
        message = refusal_to_read(tmp_path / name)
        assert "PyTorch profiler" in message and "Nsight Systems" in message


def test_a_file_of_very_deep_nesting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'{"traceEvents":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    refusal_to_read(file)


def test_events_of_another_year_do_not_extend_the_recording(tmp_path: Path) -> None:
    events = [kernel(ts=1000 + 10 * at, dur=5) for at in range(300)]
    trace = load_trace(
        write_events(tmp_path / "a.json", [*events, event(ts=1e15), event(ts=-(10**15))])
    )
    assert trace.span_ns == (0, (10 * 299 + 5) * 1000)
    (dropped,) = trace.manifest.dropped
    assert dropped.startswith("2 events")


def test_two_recordings_in_one_file_two_hours_apart_are_both_read(tmp_path: Path) -> None:
    events = [kernel(ts=at + 7.2e9 * half, dur=0.5) for half in (0, 1) for at in range(50)]
    trace = load_trace(write_events(tmp_path / "a.json", events))
    kernels = trace.table("kernels")
    assert kernels is not None and len(kernels) == 100 and trace.manifest.dropped == []


def test_events_of_impossible_times_are_ignored_and_counted(tmp_path: Path) -> None:
    bad = [
        event(ts=None),
        event(ts="x"),
        event(dur=-1),
        event(ts=1e300),
        event(dur=float("nan")),
        event(ts=[]),
    ]
    trace = load_trace(write_events(tmp_path / "a.json", [*GOOD, *bad]))
    (dropped,) = trace.manifest.dropped
    assert dropped.startswith("6 events")
    ops = trace.table("ops")
    assert ops is not None and len(ops) == 1


def test_events_without_any_duration_are_refused(tmp_path: Path) -> None:
    events = [{key: value for key, value in event.items() if key != "dur"} for event in GOOD]
    assert "duration" in refusal_to_read(write_events(tmp_path / "a.json", events))


def test_several_traces_in_one_file_are_refused(tmp_path: Path) -> None:
    file = write_events(tmp_path / "a.json", GOOD)
    file.write_bytes(file.read_bytes() * 2)
    assert "several traces" in refusal_to_read(file)


def test_half_a_surrogate_pair_in_a_name_is_replaced(tmp_path: Path) -> None:
    names = ["a\ud800b", "c\\ud800", "d\U0001f600", "\udc00"]
    trace = load_trace(
        write_events(tmp_path / "a.json", [event(name, ts=at) for at, name in enumerate(names)])
    )
    ops = trace.table("ops")
    assert ops is not None and list(ops["name"]) == [
        "a\ufffdb",
        "c\\ud800",
        "d\U0001f600",
        "\ufffd",
    ]


def test_zeros_after_compressed_data_are_padding(tmp_path: Path) -> None:
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": GOOD}).encode()) + bytes(1000))
    assert load_trace(file).manifest.dropped == []


def test_events_of_another_object_in_the_file_are_not_read(tmp_path: Path) -> None:
    file = write_events(
        tmp_path / "a.json",
        GOOD,
        other={"traceEvents": [event("no", ts=10**9)], "text": 'a "b" {'},
        rank=[3],
    )
    ops = load_trace(file).table("ops")
    assert ops is not None and ops["name"].tolist() == ["aten::mm"]


def test_the_events_before_the_end_of_a_truncated_file_are_read(tmp_path: Path) -> None:
    file = write_events(tmp_path / "a.json", [*GOOD, event(), event("last")])
    file.write_bytes(file.read_bytes()[:-30])
    trace = load_trace(file)
    assert len(trace.manifest.dropped) == 1
    ops = trace.table("ops")
    assert ops is not None and "last" not in set(ops["name"])


def test_the_events_before_the_end_of_truncated_compressed_data_are_read(tmp_path: Path) -> None:
    events = [event(f"op{at * 7919 % 10007}", ts=at) for at in range(20_000)]
    whole = gzip.compress(json.dumps({"traceEvents": events}).encode())
    file = tmp_path / "a.json.gz"
    file.write_bytes(whole[: len(whole) // 2])
    trace = load_trace(file)
    ops = trace.table("ops")
    assert ops is not None and 5_000 < len(ops) < 15_000
    assert len(trace.manifest.dropped) == 1


def test_a_file_that_decompresses_to_a_suspicious_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "UNSUSPECTED", 1 << 20)
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(b'{"traceEvents":[' + b" " * 30_000_000 + b"]}"))
    assert "200 times" in refusal_to_read(file)


def test_a_trace_of_a_hundred_thousand_threads_is_read(tmp_path: Path) -> None:
    trace = load_trace(
        write_events(
            tmp_path / "a.json", [event(pid=at % 50, tid=at, ts=at) for at in range(100_000)]
        )
    )
    ops = trace.table("ops")
    assert ops is not None and ops["tid"].nunique() == 100_000 and (ops["parent"] == -1).all()


def test_a_correlation_id_used_twice_belongs_to_the_first_launch(tmp_path: Path) -> None:
    trace = load_trace(
        write_events(
            tmp_path / "a.json", [launch(ts=1), launch(ts=30), kernel(ts=40), kernel(ts=50)]
        )
    )
    kernels = trace.table("kernels")
    assert kernels is not None and kernels["launch"].tolist() == [0, 0]


def test_step_marks_and_loader_waits_of_old_versions_are_not_operators(
    tmp_path: Path,
) -> None:
    old = {"cat": "Operator"}
    wait = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
    events = [
        event("ProfilerStep#3", dur=90, **old),
        event("aten::add", ts=20, dur=4, **old),
        event(wait, ts=30, **old),
    ]
    trace = load_trace(write_events(tmp_path / "a.json", events))
    ranges, ops, loader = trace.table("ranges"), trace.table("ops"), trace.table("loader")
    assert ranges is not None and ranges["category"].tolist() == ["step"]
    assert ops is not None and ops["parent"].tolist() == [-1]
    assert ops["name"].tolist() == ["aten::add"]
    assert loader is not None and loader["workers"].tolist() == [0]


PLACES = st.tuples(st.floats(0, 1), st.integers(0, 255))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(PLACES, min_size=1, max_size=20), cut=st.floats(0.05, 1), packed=st.booleans()
)
def test_a_file_with_changed_bytes_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[float, int]], cut: float, packed: bool
) -> None:
    whole = json.dumps(
        {"schemaVersion": 1, "distributedInfo": {"rank": 3}, "traceEvents": GOOD * 3}
    ).encode()
    data = bytearray(gzip.compress(whole, mtime=0) if packed else whole)
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    file = tmp_path / "a.json"
    file.write_bytes(data[: int(cut * len(data))])
    try:
        trace = load_trace(file)
    except UnreadableRun as error:
        assert "\n" not in str(error) and len(str(error)) < 600
    else:
        assert 0 <= trace.span_ns[1] - trace.span_ns[0] < 2 * 86_400 * 10**9


def test_metadata_is_kept_up_to_a_number_of_events_and_the_rest_is_counted(tmp_path: Path) -> None:
    names = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": at, "args": {"name": f"thread {at}"}}
        for at in range(layout.MOST_METADATA + 250)
    ]
    trace = load_trace(write_events(tmp_path / "a.json", [*GOOD, *names]))
    threads = trace.table("threads")
    assert threads is not None and len(threads) == layout.MOST_METADATA
    (dropped,) = trace.manifest.dropped
    assert dropped.startswith("250 events left out: they are metadata")


def test_names_in_metadata_are_kept_up_to_a_size(tmp_path: Path) -> None:
    long = "x" * (layout.MOST_METADATA_TEXT // 4)
    names = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": at, "args": {"name": f"{at} {long}"}}
        for at in range(6)
    ]
    trace = load_trace(write_events(tmp_path / "a.json", [*GOOD, *names]))
    threads = trace.table("threads")
    assert threads is not None and len(threads) == 3
    (dropped,) = trace.manifest.dropped
    assert dropped.startswith("3 events left out: they are metadata")
