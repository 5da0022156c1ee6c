"""Recordings whose events contradict each other: what is repaired, left out or doubted, and the
number of these events.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.kineto.piece_parser import parse_in_python, parse_piece
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.traces.kineto.events import event, kernel, launch, write_events

Events = list[dict[str, Any]]
START_US = 1.7e15
STEP_US, KERNELS = 1000.0, 8


def steps(count: int = 6, first: int = 0) -> Events:
    """Return steps of 1 ms, each with eight launches and kernels of 100 us."""
    events = []
    for number in range(first, first + count):
        begin = START_US + number * STEP_US
        mark = event(f"ProfilerStep#{number}", cat="user_annotation", ts=begin, dur=STEP_US - 1)
        events.append(mark)
        for at in range(KERNELS):
            ids = {"correlation": 1 + number * KERNELS + at, "device": 0, "stream": 7}
            events.append(launch(ts=begin + 10 + 8 * at, dur=5, args=ids))
            events.append(kernel(ts=begin + 100 + 100 * at, dur=100, args=ids))
    return events


def works(events: Events) -> Events:
    """Return the kernels."""
    return [row for row in events if row["cat"] == "kernel"]


def read(folder: Path, events: Events) -> tuple[Trace, dict[str, int]]:
    """Return the trace of these events, and how many of them violate each invariant."""
    trace = load_trace(write_events(folder / "a.json", events))
    return trace, {row.invariant: row.events for row in trace.manifest.violations}


def compute_share(diagnosis: Diagnosis) -> float:
    """Return the share of the time in which the device computes."""
    shares = {row.category: row.share for row in diagnosis.time_budget}
    return shares["device-compute"]


def test_an_ordinary_recording_violates_nothing(tmp_path: Path) -> None:
    trace, violations = read(tmp_path, steps())
    diagnosis = diagnose_trace(trace)
    assert violations == {} and diagnosis.data_quality == []
    assert compute_share(diagnosis) == pytest.approx(4800 / 5800)


def test_events_at_time_zero_are_left_out(tmp_path: Path) -> None:
    events = steps()
    for row in works(events)[:5]:
        row["ts"] = row["dur"] = 0
    trace, violations = read(tmp_path, events)
    assert violations == {"event-without-time": 5}
    assert trace.span_ns == (0, 5_999_000)


def test_a_recording_that_starts_at_zero_keeps_its_events(tmp_path: Path) -> None:
    _, violations = read(tmp_path, [launch(ts=0, dur=2), kernel(ts=20, dur=9)])
    assert violations == {}


def test_a_kernel_ends_where_the_next_of_its_stream_starts(tmp_path: Path) -> None:
    events = steps()
    for at in (4, 5, 30):
        works(events)[at]["dur"] = 2e6
    trace, violations = read(tmp_path, events)
    assert violations == {"kernel-overlap-on-stream": 3}
    kernels = trace.table("kernels")
    assert kernels is not None and int(kernels["dur"].max()) == 100_000


def test_kernels_of_dependent_launches_may_overlap(tmp_path: Path) -> None:
    events = steps()
    for row in works(events):
        row["dur"] = 120
    assert read(tmp_path, events)[1] == {}


def test_kernels_before_their_launches_are_moved_behind_them(tmp_path: Path) -> None:
    events = steps()
    for row in works(events):
        row["ts"] -= 700
    trace, violations = read(tmp_path, events)
    assert violations == {"kernel-before-launch": 6 * 7}
    kernels, launches = trace.table("kernels"), trace.table("launches")
    assert kernels is not None and launches is not None
    start, call = kernels["ts"].to_numpy(np.int64), launches["ts"].to_numpy(np.int64)
    assert int((start - call[kernels["launch"].to_numpy(np.int64)]).min()) == 0


def test_events_after_the_clock_was_set_back_follow_the_others(tmp_path: Path) -> None:
    events = steps(10)
    for row in events:
        if row["ts"] >= START_US + 6 * STEP_US:
            row["ts"] -= 2e6
    trace, violations = read(tmp_path, events)
    assert violations["clock-jump"] == 4 * (1 + 2 * KERNELS)
    assert trace.span_ns[0] == 0 and trace.span_ns[1] == pytest.approx(9_999_000, abs=2000)


def test_marks_of_steps_end_where_the_next_starts(tmp_path: Path) -> None:
    events = steps()
    for row in events:
        if row["name"].startswith("ProfilerStep"):
            row["dur"] += 300
    trace, violations = read(tmp_path, events)
    assert violations == {"overlapping-steps": 5}
    assert diagnose_trace(trace).steps.count == 6


def test_a_wait_ends_with_its_step(tmp_path: Path) -> None:
    wait = event(
        "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__",
        cat="user_annotation",
        ts=START_US + 2 * STEP_US + 1,
        dur=4 * STEP_US,
    )
    trace, violations = read(tmp_path, [*steps(), wait])
    assert violations == {"overlap-on-thread": 1}
    waits = trace.table("loader")
    assert waits is not None and waits["dur"].tolist() == [998_000]


def test_an_event_that_is_recorded_twice_counts_once(tmp_path: Path) -> None:
    events = steps()
    trace, violations = read(tmp_path, [*events, *events])
    assert violations == {"duplicate-events": len(events)}
    once = load_trace(write_events(tmp_path / "once.json", events))
    for name in ("kernels", "launches", "ranges"):
        table, wanted = trace.table(name), once.table(name)
        assert table is not None and wanted is not None and table.equals(wanted)


def test_negative_durations_are_left_out_and_counted(tmp_path: Path) -> None:
    events = steps()
    for row in works(events)[::9]:
        row["dur"] = -5
    for parse in (parse_piece, parse_in_python):
        parsed = parse(json.dumps(events).encode()[1:])
        assert parsed.violations == {"negative-duration": 6}
    assert read(tmp_path, events)[1] == {"negative-duration": 6}


@pytest.mark.parametrize("lost", [range(3), range(4, 6), range(2, 4)])
def test_steps_whose_kernels_were_lost_are_unknown_and_not_idle(
    tmp_path: Path, lost: range
) -> None:
    events = steps(8)
    hidden = [row for number in lost for row in works(events)[number * KERNELS :][:KERNELS]]
    trace, violations = read(tmp_path, [row for row in events if row not in hidden])
    assert violations == {"launch-without-kernel": len(hidden)}
    diagnosis = diagnose_trace(trace)
    assert compute_share(diagnosis) == pytest.approx(0.83, abs=0.03)
    phases = {row.phase: row.share for row in diagnosis.run_budget}
    assert phases["not-recorded"] == pytest.approx(len(lost) / 8, abs=0.05)
    assert sum(phases.values()) == pytest.approx(1.0)
    # In the first 10 % of the step after them the device may still do what was lost.
    assert diagnosis.steps.count == 7 - len(lost)
    assert diagnosis.verdict.confidence <= 0.9 * 0.99


def test_launches_that_wait_for_a_busy_device_at_the_end_are_not_lost(tmp_path: Path) -> None:
    events = steps()
    works(events)[-1]["dur"] = 50_000
    late = [
        launch(ts=START_US + 6000 + 10 * at, args={"correlation": 900 + at}) for at in range(90)
    ]
    assert read(tmp_path, [*events, *late])[1] == {}


def test_where_most_kernels_were_lost_the_verdict_is_unknown(tmp_path: Path) -> None:
    events = steps(8)
    hidden = works(events)[3 * KERNELS :]
    trace, _ = read(tmp_path, [row for row in events if row not in hidden])
    assert diagnose_trace(trace).verdict.id == "unknown"


ODD_NAMES = {
    rb"C:\Work\ml\torch\nn.py(1): f": "C:/Work/ml/torch/nn.py(1): f",
    b'lib("_test", "IMPL")\n(1): <module>': "lib('_test', 'IMPL')?(1): <module>",
    b"config.py(0): \xff\xfe\x01": "config.py(0): ???",
    rb"ends with \ ".strip(): "ends with /",
}


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("at", [0, 20, -1])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_name_that_is_not_escaped_is_repaired(
    tmp_path: Path, name: bytes, at: int, indent: int | None
) -> None:
    events = steps()
    at = at if at >= 0 else len(events)
    events.insert(at, event("@@", cat="python_function", ts=START_US, dur=30))
    text = json.dumps({"traceEvents": events, "traceName": "x"}, indent=indent).encode()
    (tmp_path / "a.json").write_bytes(text.replace(b"@@", name))
    trace = load_trace(tmp_path / "a.json")
    assert [(row.invariant, row.events) for row in trace.manifest.violations] == [
        ("invalid-text", 1)
    ]
    ranges = trace.table("ranges")
    assert ranges is not None and ODD_NAMES[name] in set(ranges["name"])
    kernels = trace.table("kernels")
    assert kernels is not None and len(kernels) == 6 * KERNELS


def test_an_event_that_cannot_be_repaired_is_left_out(tmp_path: Path) -> None:
    events = [*steps(), event("@@", cat="python_function", ts=START_US, dur=30)]
    text = json.dumps({"traceEvents": events}).replace('"@@"', "what, is this")
    (tmp_path / "a.json").write_text(text)
    trace = load_trace(tmp_path / "a.json")
    assert {row.invariant: row.events for row in trace.manifest.violations} == {"invalid-text": 1}


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-nan(ind)", "NaN", "Infinity"])
def test_a_value_that_is_not_finite_is_missing(tmp_path: Path, value: str) -> None:
    events = steps()
    for row in works(events)[:4]:
        row["args"] = {**row["args"], "memory bandwidth (GB/s)": "@@"}
    text = json.dumps({"traceEvents": events}).replace('"@@"', value)
    (tmp_path / "a.json").write_text(text)
    trace = load_trace(tmp_path / "a.json")
    found = {row.invariant: row.events for row in trace.manifest.violations}
    assert found == {"value-not-finite": 4}


def test_text_after_the_events_may_be_damaged(tmp_path: Path) -> None:
    text = json.dumps({"traceEvents": steps(), "log": "@@"}).replace("@@", 'a "b" c')
    (tmp_path / "a.json").write_text(text)
    trace = load_trace(tmp_path / "a.json")
    assert {row.invariant: row.events for row in trace.manifest.violations} == {"invalid-text": 1}


def test_a_file_that_is_cut_off_is_reported_first(tmp_path: Path) -> None:
    events = steps()
    works(events)[0]["dur"] = -1
    events.sort(key=lambda row: row["ts"])
    text = json.dumps({"traceEvents": events})
    (tmp_path / "a.json").write_text(text[: int(0.7 * len(text))])
    diagnosis = diagnose_trace(load_trace(tmp_path / "a.json"))
    invariants = [row.invariant for row in diagnosis.data_quality]
    assert invariants[0] == "truncated-file" and "negative-duration" in invariants


@pytest.mark.parametrize("written_share", [1.0, 0.6])
def test_a_trace_compressed_with_zstandard_is_read(tmp_path: Path, written_share: float) -> None:
    text = json.dumps({"traceEvents": steps(400)}).encode()
    compressed = pa.compress(text, codec="zstd", asbytes=True)
    (tmp_path / "a.json.zst").write_bytes(compressed[: int(written_share * len(compressed))])
    trace = load_trace(tmp_path / "a.json.zst")
    kernels = trace.table("kernels")
    assert kernels is not None
    is_cut_off = any(row.invariant == "truncated-file" for row in trace.manifest.violations)
    assert is_cut_off == (written_share < 1.0) == (len(kernels) < 400 * KERNELS)


def test_windows_of_one_process_are_one_run(tmp_path: Path) -> None:
    for window in range(3):
        write_events(tmp_path / f"node1_7.{window}.pt.trace.json", steps(6, first=100 * window))
    trace = load_trace(tmp_path)
    processes = trace.table("processes")
    assert processes is not None and len(processes) == 1
