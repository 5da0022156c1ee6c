"""Damaged and odd trace files: a clear line, or what is right in them with the rest counted."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfscope.errors import UnreadableRun
from perfscope.traces.kineto import text
from perfscope.traces.load import load_trace
from tests.traces.kineto.events import event, kernel, launch, written

GOOD = [event(ts=1, dur=50), launch(ts=5, dur=2), kernel(ts=20, dur=9)]


def told(path: Path) -> str:
    with pytest.raises(UnreadableRun) as caught:
        load_trace(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n" + bytes(range(200)), b"null", b"[]", b"{}", b'{"traceEvents":[]}'],
)
def test_what_is_no_trace_is_told_what_can_be_read(tmp_path: Path, content: bytes) -> None:
    for name in ("a.json", "a.bin"):
        (tmp_path / name).write_bytes(content)
        assert "perfscope reads traces of the PyTorch profiler" in told(tmp_path / name)


def test_nests_without_end(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'{"traceEvents":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    told(file)


def test_a_lone_time_of_another_age_does_not_stretch_the_recording(tmp_path: Path) -> None:
    events = [kernel(ts=1000 + 10 * at, dur=5) for at in range(300)]
    trace = load_trace(written(tmp_path / "a.json", [*events, event(ts=1e15), event(ts=-(10**15))]))
    assert trace.span_ns == (0, (10 * 299 + 5) * 1000)
    assert trace.manifest.dropped == [
        "2 events left out: they are more than an hour away from all others"
    ]


def test_two_recordings_in_one_file_two_hours_apart_stay_both(tmp_path: Path) -> None:
    events = [kernel(ts=at + 7.2e9 * half, dur=0.5) for half in (0, 1) for at in range(50)]
    trace = load_trace(written(tmp_path / "a.json", events))
    kernels = trace.table("kernels")
    assert kernels is not None and len(kernels) == 100 and trace.manifest.dropped == []


def test_impossible_times_are_left_out_and_counted(tmp_path: Path) -> None:
    bad = [
        event(ts=None),
        event(ts="x"),
        event(dur=-1),
        event(ts=1e300),
        event(dur=float("nan")),
        event(ts=[]),
    ]
    trace = load_trace(written(tmp_path / "a.json", [*GOOD, *bad]))
    assert trace.manifest.dropped == ["6 events left out: they have impossible times"]
    ops = trace.table("ops")
    assert ops is not None and len(ops) == 1


def test_without_any_duration_nothing_is_said(tmp_path: Path) -> None:
    whole = [{key: value for key, value in one.items() if key != "dur"} for one in GOOD]
    assert "a.json: none of the events has a duration" in told(written(tmp_path / "a.json", whole))


def test_two_files_in_one(tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", GOOD)
    file.write_bytes(file.read_bytes() * 2)
    assert "is several traces in one file" in told(file)


def test_half_a_surrogate_pair_in_a_name_costs_nothing(tmp_path: Path) -> None:
    names = ["a\ud800b", "c\\ud800", "d\U0001f600", "\udc00"]
    trace = load_trace(
        written(tmp_path / "a.json", [event(name, ts=at) for at, name in enumerate(names)])
    )
    ops = trace.table("ops")
    assert ops is not None and list(ops["name"]) == [
        "a\ufffdb",
        "c\\ud800",
        "d\U0001f600",
        "\ufffd",
    ]


def test_zeros_behind_a_packed_file_are_padding(tmp_path: Path) -> None:
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": GOOD}).encode()) + bytes(1000))
    assert load_trace(file).manifest.dropped == []


def test_another_objects_events_before_the_real_ones_are_none(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.json",
        GOOD,
        other={"traceEvents": [event("no", ts=10**9)], "text": 'a "b" {'},
        rank=[3],
    )
    ops = load_trace(file).table("ops")
    assert ops is not None and ops["name"].tolist() == ["aten::mm"]


def test_a_file_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", [*GOOD, event(), event("last")])
    file.write_bytes(file.read_bytes()[:-30])
    trace = load_trace(file)
    assert "cut off" in trace.manifest.dropped[0]
    ops = trace.table("ops")
    assert ops is not None and "last" not in set(ops["name"])


def test_a_packed_file_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    whole = gzip.compress(
        json.dumps(
            {"traceEvents": [event(f"op{at * 7919 % 10007}", ts=at) for at in range(20_000)]}
        ).encode()
    )
    file = tmp_path / "a.json.gz"
    file.write_bytes(whole[: len(whole) // 2])
    trace = load_trace(file)
    ops = trace.table("ops")
    assert ops is not None and 5_000 < len(ops) < 15_000
    assert "compressed data ends early" in trace.manifest.dropped[0]


def test_a_file_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "UNSUSPECTED", 1 << 20)
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(b'{"traceEvents":[' + b" " * 30_000_000 + b"]}"))
    assert "more than 200 times its size" in told(file)


def test_a_hundred_thousand_threads(tmp_path: Path) -> None:
    trace = load_trace(
        written(tmp_path / "a.json", [event(pid=at % 50, tid=at, ts=at) for at in range(100_000)])
    )
    ops = trace.table("ops")
    assert ops is not None and ops["tid"].nunique() == 100_000 and (ops["parent"] == -1).all()


def test_ids_used_twice_give_the_first_launch(tmp_path: Path) -> None:
    trace = load_trace(
        written(tmp_path / "a.json", [launch(ts=1), launch(ts=30), kernel(ts=40), kernel(ts=50)])
    )
    kernels = trace.table("kernels")
    assert kernels is not None and kernels["launch"].tolist() == [0, 0]


def test_marks_of_steps_and_loader_waits_among_the_operators_of_old_versions(
    tmp_path: Path,
) -> None:
    old = {"cat": "Operator"}
    wait = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
    events = [
        event("ProfilerStep#3", dur=90, **old),
        event("aten::add", ts=20, dur=4, **old),
        event(wait, ts=30, **old),
    ]
    trace = load_trace(written(tmp_path / "a.json", events))
    ranges, ops, loader = trace.table("ranges"), trace.table("ops"), trace.table("loader")
    assert ranges is not None and ranges["category"].tolist() == ["step"]
    assert (
        ops is not None and ops["name"].tolist() == ["aten::add"] and ops["parent"].tolist() == [-1]
    )
    assert loader is not None and loader["workers"].tolist() == [0]


PLACES = st.tuples(st.floats(0, 1), st.integers(0, 255))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(PLACES, min_size=1, max_size=20), cut=st.floats(0.05, 1), packed=st.booleans()
)
def test_any_change_of_bytes_is_read_or_refused(
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
