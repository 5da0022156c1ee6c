"""Lanes of the timeline: their tracks, nesting and colors; statistics, search and the flow of
launches.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfscope.analyzer.timeline.call_statistics import places_of, selection_by_place
from perfscope.analyzer.timeline.event import event_at
from perfscope.analyzer.timeline.event_rows import free_rows, nesting_depths
from perfscope.analyzer.timeline.lane import EVENT_COLORS
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.search import next_hit, search
from perfscope.analyzer.timeline.selection import selection
from perfscope.analyzer.timeline.strip import strip
from perfscope.analyzer.timeline.track import Lanes
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.build import trace
from tests.traces.kineto.recorded import WHERE, each_recorded
from tests.ui.sample_traces import input_bound

HOST = {"process": 0, "tid": 100}
GPU = {"process": 0, "device": 0, "stream": 7}


def launch(ts: int, correlation: int) -> dict[str, Any]:
    """Return a call of 10 ns that launches a kernel from the second operator."""
    times = {"ts": ts, "dur": 10, "correlation": correlation}
    return {**HOST, **times, "name": "cudaLaunchKernel", "kind": "kernel", "op": 1}


def gpu_run() -> Trace:
    """Return a trace of an operator whose child launches a computation and a collective; the thread
    then waits for both.
    """
    outer = {"ts": 100, "dur": 100, "name": "aten::linear", "parent": -1, "shapes": "[[2,3]]"}
    inner = {"ts": 110, "dur": 50, "name": "aten::addmm", "parent": 0}
    sync = {"ts": 210, "dur": 300, "name": "cudaDeviceSynchronize", "kind": "sync", "op": -1}
    gemm = {"ts": 200, "dur": 100, "name": "gemm", "kind": "compute", "launch": 0, "correlation": 5}
    reduce = {"ts": 300, "dur": 200, "name": "nccl_all_reduce", "kind": "communication"}
    forward = {"ts": 90, "dur": 500, "category": "annotation", "name": "<b>forward</b>"}
    return trace(
        ops=[HOST | outer, HOST | inner],
        launches=[launch(120, 5), launch(140, 6), HOST | sync],
        kernels=[GPU | gemm, {**GPU, **reduce, "launch": 1}],
        ranges=[HOST | forward],
    )


def titles(lanes: Lanes) -> list[tuple[str, str, int]]:
    return [(track.kind, track.title, track.rows) for track in lanes.tracks]


def lane_of(lanes: Lanes, title: str, row: int = 0) -> int:
    """Return the number of a lane: a row of the track with this title."""
    (track,) = (track for track in lanes.tracks if track.title == title)
    return track.first + row


def test_a_gpu_trace_has_tracks_for_its_thread_its_calls_and_its_stream() -> None:
    lanes = gpu_run().fact(timeline_lanes)
    assert titles(lanes) == [
        ("stream", "stream 7", 1),
        ("thread", "main thread", 3),
        ("calls", "runtime calls", 1),
    ]
    thread = [[lanes.names.texts[code] for code in lane.code(slice(None))] for lane in lanes.lanes]
    first = lane_of(lanes, "main thread")
    assert thread[first : first + 3] == [["<b>forward</b>"], ["aten::linear"], ["aten::addmm"]]
    colors = [EVENT_COLORS[number] for number in lanes.names.colors]
    by_name = dict(zip(lanes.names.texts, colors, strict=True))
    assert by_name["gemm"] == "device-compute"
    assert by_name["nccl_all_reduce"] == "exposed-communication"
    assert by_name["cudaDeviceSynchronize"] == "sync-wait"
    assert by_name["aten::addmm"] == "host-bound"


def test_a_recording_has_tracks_for_steps_the_main_thread_and_each_worker() -> None:
    lanes = input_bound().fact(timeline_lanes)
    assert [(track.kind, track.title) for track in lanes.tracks] == [
        ("steps", "steps"),
        ("thread", "main thread"),
        ("loader", "worker 0"),
        ("loader", "worker 1"),
    ]
    assert len(lanes.groups) == 1  # workers are in the group of their rank's process
    thread = lanes.lanes[lanes.tracks[1].first]
    assert "waiting for a batch" in {lanes.names.texts[code] for code in thread.codes}


def test_nvtx_ranges_have_a_track_above_that_of_their_thread() -> None:
    ops = [{**HOST, "ts": 100, "dur": 100, "name": "aten::linear", "parent": -1}]
    ranges = [
        {**HOST, "ts": ts, "dur": dur, "category": "nvtx", "name": name}
        for ts, dur, name in ((90, 500, "step"), (120, 700, "crosses its end"), (100, 50, "inside"))
    ]
    lanes = trace(ops=ops, ranges=ranges).fact(timeline_lanes)
    assert titles(lanes) == [("nvtx", "NVTX, main thread", 3), ("thread", "main thread", 1)]


def test_a_selection_is_summed_by_the_module_or_range_that_launched_it() -> None:
    run = gpu_run()
    names = ("ops", "launches", "kernels", "ranges")
    tables: Any = {
        name: frame.to_dict("records") for name in names if (frame := run.table(name)) is not None
    }
    module = {**HOST, "ts": 95, "dur": 35, "category": "python", "name": "nn.Module: Linear_0"}
    run = trace(**{**tables, "ranges": [*tables["ranges"], module]})
    lanes = run.fact(timeline_lanes)
    stream = [track.first for track in lanes.tracks if track.kind == "stream"]
    assert places_of(run) == ["module", "range"] and places_of(trace()) == []
    assert sums(selection_by_place(lanes, 250, 400, stream, "module", trace=run)) == [
        ("outside of any module", 1, 100, 100, 200),
        ("Linear_0", 1, 50, 50, 100),
    ]
    assert sums(selection_by_place(lanes, 250, 400, stream, "range", trace=run)) == [
        ("<b>forward</b>", 2, 150, 150, 200)
    ]
    (track,) = (track for track in lanes.tracks if track.kind == "thread")
    thread = list(range(track.first, track.first + track.rows))
    rows = selection_by_place(lanes, 90, 590, thread, "range", trace=run)
    assert rows["exclusive_ns"].sum() == 500 and set(rows["name"]) == {"<b>forward</b>"}
    assert len(selection_by_place(lanes, 10_000, 10_001, stream, "range", trace=run)) == 0


def sums(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    columns = ["name", "count", "sum_ns", "exclusive_ns", "longest_ns"]
    return list(rows[columns].itertuples(index=False, name=None))


def test_statistics_of_a_selection_are_clipped_to_it_and_exclude_nested_events() -> None:
    lanes = gpu_run().fact(timeline_lanes)
    selected = [lane_of(lanes, "main thread", row) for row in (1, 2)]
    selected.append(lane_of(lanes, "stream 7"))
    rows = selection(lanes, 150, 400, selected).set_index("name")
    assert rows.loc["aten::linear", ["count", "sum_ns", "exclusive_ns", "longest_ns"]].tolist() == [
        1,
        50,
        40,
        100,
    ]
    assert rows.loc["nccl_all_reduce", ["sum_ns", "exclusive_ns"]].tolist() == [100, 100]
    assert rows.loc["gemm", "share"] == pytest.approx(100 / (2 * 250))  # of two tracks
    by_colour = selection(lanes, 150, 400, range(5), "category").set_index("category")
    assert by_colour.loc["sync-wait", "sum_ns"] == 190


def test_search_steps_through_its_hits_forward_and_backward() -> None:
    lanes = gpu_run().fact(timeline_lanes)
    hits = search(lanes, "CudaLaunch")
    assert hits.count == 2 and hits.density.sum() == 2
    first = next_hit(lanes, hits, (0, -1))
    assert first is not None and first.ts_ns == 120
    second = next_hit(lanes, hits, (first.ts_ns, first.lane))
    assert second is not None and second.ts_ns == 140
    assert next_hit(lanes, hits, (second.ts_ns, second.lane)) is None
    back = next_hit(lanes, hits, (second.ts_ns, second.lane), forward=False)
    assert back is not None and back.ts_ns == 120
    assert search(lanes, " ").count == 0


def test_search_steps_through_hits_of_equal_time_on_several_lanes() -> None:
    same = [
        {"process": 0, "tid": tid, "ts": 50, "dur": 5, "name": "aten::add", "parent": -1}
        for tid in (1, 2, 3)
    ]
    lanes = trace(ops=same).fact(timeline_lanes)
    hits, seen, place = search(lanes, "add"), [], (0, -1)
    while (hit := next_hit(lanes, hits, place)) is not None:
        seen.append(hit.lane)
        place = (hit.ts_ns, hit.lane)
    assert seen == [0, 1, 2]


def test_the_flow_connects_operator_launch_and_kernel_in_both_directions() -> None:
    run = gpu_run()
    lanes = run.fact(timeline_lanes)
    op = event_at(run, lanes, lane_of(lanes, "main thread", 1), 105)
    assert op is not None and op.details == {"shapes": "[[2,3]]"}
    assert [(effect.role, effect.ts_ns) for effect in op.effects] == [
        ("launch", 120),
        ("launch", 140),
        ("kernel", 200),
        ("kernel", 300),
    ]
    kernel = event_at(run, lanes, lane_of(lanes, "stream 7"), 250)
    assert kernel is not None
    assert [(cause.role, cause.name) for cause in kernel.causes] == [
        ("operator", "aten::addmm"),
        ("launch", "cudaLaunchKernel"),
    ]
    assert event_at(run, lanes, lane_of(lanes, "stream 7"), 150) is None


def test_the_strip_counts_computation_before_what_it_hides() -> None:
    shares = strip(gpu_run().fact(timeline_lanes), 1)
    assert shares["device-compute"][0] == pytest.approx(100 / 500)
    assert shares["exposed-communication"][0] == pytest.approx(200 / 500)


def test_a_trace_without_events_has_no_lanes() -> None:
    lanes = trace().fact(timeline_lanes)
    assert (lanes.lanes, lanes.tracks, lanes.events) == ([], [], 0)
    assert lanes.span_ns[1] > lanes.span_ns[0]


def test_of_too_many_threads_the_busiest_are_shown() -> None:
    ops = [
        {"process": 0, "tid": tid, "ts": 10 * tid, "dur": 5, "name": "aten::add"}
        for tid in range(1, 1001)
    ]
    ops += [{"process": 0, "tid": 1000, "ts": 20_000, "dur": 5, "name": "aten::mul"}]
    lanes = trace(ops=ops).fact(timeline_lanes)
    assert len(lanes.tracks) == 400
    assert [track.title for track in lanes.tracks[:2]] == ["main thread", "thread 1000"]
    (note,) = lanes.notes
    assert "600 more threads" in note and "600 events" in note


def test_events_of_one_depth_do_not_overlap_even_if_they_cross() -> None:
    rng = np.random.default_rng(3)
    ts, dur = np.sort(rng.integers(0, 3000, 800)), rng.integers(0, 200, 800)
    depth = nesting_depths(np.zeros(800, np.int64), ts, dur)
    rows = free_rows(ts, ts + dur)
    for row in (depth, rows):
        for number in range(int(row.max()) + 1):
            begin, end = ts[row == number], (ts + dur)[row == number]
            order = np.lexsort((end, begin))
            assert (begin[order][1:] >= end[order][:-1]).all()
    assert rows.max() <= depth.max()


@pytest.mark.shared_traces
@WHERE
@each_recorded()
def test_every_event_of_a_recorded_trace_is_in_a_lane_without_overlap(path: Path) -> None:
    run = load_trace(path)
    lanes = run.fact(timeline_lanes)
    for lane in lanes.lanes:
        assert (lane.ts[1:] >= lane.ts[:-1] + lane.dur(slice(None))[:-1]).all()
    for kind, table in (("thread", "ops"), ("calls", "launches"), ("stream", "kernels")):
        frame = run.table(table)
        tracks = [track for track in lanes.tracks if track.kind == kind]
        shown = sum(track.events + track.hidden for track in tracks)
        assert shown >= (0 if frame is None else len(frame))
