"""Lanes of a trace: who stands where, nested how deep, in which colour; statistics, search and flow
on them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfscope.analyzer.timeline.event import event_at
from perfscope.analyzer.timeline.lane import EVENT_COLORS
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.nest import free_rows, nesting_depths
from perfscope.analyzer.timeline.places import places_of, selection_by_place
from perfscope.analyzer.timeline.search import next_hit, search
from perfscope.analyzer.timeline.selection import selection
from perfscope.analyzer.timeline.strip import strip
from perfscope.analyzer.timeline.track import Lanes
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.build import trace
from tests.ui.runs import input_bound

SHARED = Path(__file__).parents[4] / "shared" / "traces" / "kineto"
HOST = {"process": 0, "tid": 100}
GPU = {"process": 0, "device": 0, "stream": 7}


def gpu_run() -> Trace:
    """An operator in an operator that launches two kernels, one of them a collective, then
    waits.
    """
    return trace(
        ops=[
            {
                **HOST,
                "ts": 100,
                "dur": 100,
                "name": "aten::linear",
                "parent": -1,
                "shapes": "[[2,3]]",
            },
            {**HOST, "ts": 110, "dur": 50, "name": "aten::addmm", "parent": 0},
        ],
        launches=[
            {
                **HOST,
                "ts": 120,
                "dur": 10,
                "name": "cudaLaunchKernel",
                "kind": "kernel",
                "op": 1,
                "correlation": 5,
            },
            {
                **HOST,
                "ts": 140,
                "dur": 10,
                "name": "cudaLaunchKernel",
                "kind": "kernel",
                "op": 1,
                "correlation": 6,
            },
            {
                **HOST,
                "ts": 210,
                "dur": 300,
                "name": "cudaDeviceSynchronize",
                "kind": "sync",
                "op": -1,
            },
        ],
        kernels=[
            {
                **GPU,
                "ts": 200,
                "dur": 100,
                "name": "gemm",
                "kind": "compute",
                "launch": 0,
                "correlation": 5,
            },
            {
                **GPU,
                "ts": 300,
                "dur": 200,
                "name": "nccl_all_reduce",
                "kind": "communication",
                "launch": 1,
            },
        ],
        ranges=[{**HOST, "ts": 90, "dur": 500, "category": "annotation", "name": "<b>forward</b>"}],
    )


def titles(lanes: Lanes) -> list[tuple[str, str, int]]:
    return [(one.kind, one.title, one.rows) for one in lanes.tracks]


def test_a_gpu_trace_has_its_thread_nested_its_calls_and_its_stream() -> None:
    lanes = gpu_run().fact(timeline_lanes)
    assert titles(lanes) == [
        ("thread", "main thread", 3),
        ("calls", "runtime calls", 1),
        ("stream", "stream 7", 1),
    ]
    assert [
        [lanes.names.texts[code] for code in one.code(slice(None))] for one in lanes.lanes[:3]
    ] == [
        ["<b>forward</b>"],
        ["aten::linear"],
        ["aten::addmm"],
    ]
    colour = {
        text: EVENT_COLORS[at]
        for text, at in zip(lanes.names.texts, lanes.names.colors, strict=True)
    }
    assert (
        colour["gemm"] == "device-compute" and colour["nccl_all_reduce"] == "exposed-communication"
    )
    assert colour["cudaDeviceSynchronize"] == "sync-wait" and colour["aten::addmm"] == "host-bound"


def test_a_run_folder_has_steps_the_loop_and_each_worker() -> None:
    lanes = input_bound().fact(timeline_lanes)
    assert [(one.kind, one.title) for one in lanes.tracks] == [
        ("steps", "steps"),
        ("thread", "main thread"),
        ("loader", "worker 0"),
        ("loader", "worker 1"),
    ]
    assert len(lanes.groups) == 1, "workers stand under the process that they work for"
    thread = lanes.lanes[lanes.tracks[1].first]
    assert "waiting for a batch" in {lanes.names.texts[code] for code in thread.codes}


def test_nvtx_ranges_have_a_track_of_their_own_above_their_thread() -> None:
    ops = [{**HOST, "ts": 100, "dur": 100, "name": "aten::linear", "parent": -1}]
    said = [(90, 500, "step"), (120, 700, "crosses its end"), (100, 50, "inside")]
    lanes = trace(
        ops=ops,
        ranges=[
            {**HOST, "ts": ts, "dur": dur, "category": "nvtx", "name": name}
            for ts, dur, name in said
        ],
    ).fact(timeline_lanes)
    assert titles(lanes) == [("nvtx", "NVTX, main thread", 3), ("thread", "main thread", 1)]


def test_a_stretch_is_told_by_the_module_and_the_range_that_launched_it() -> None:
    run = gpu_run()
    names = ("ops", "launches", "kernels", "ranges")
    tables: Any = {
        name: frame.to_dict("records") for name in names if (frame := run.table(name)) is not None
    }
    module = {**HOST, "ts": 95, "dur": 35, "category": "python", "name": "nn.Module: Linear_0"}
    run = trace(**{**tables, "ranges": [*tables["ranges"], module]})
    lanes = run.fact(timeline_lanes)
    stream = [one.first for one in lanes.tracks if one.kind == "stream"]
    assert places_of(run) == ["module", "range"] and places_of(trace()) == []
    assert stated(selection_by_place(lanes, 250, 400, stream, "module", trace=run)) == [
        ("outside of any module", 1, 100, 100, 200),
        ("Linear_0", 1, 50, 50, 100),
    ]
    assert stated(selection_by_place(lanes, 250, 400, stream, "range", trace=run)) == [
        ("<b>forward</b>", 2, 150, 150, 200)
    ]
    thread = [
        number
        for one in lanes.tracks
        if one.kind == "thread"
        for number in range(one.first, one.first + one.rows)
    ]
    rows = selection_by_place(lanes, 90, 590, thread, "range", trace=run)
    assert rows["exclusive_ns"].sum() == 500 and set(rows["name"]) == {"<b>forward</b>"}
    assert len(selection_by_place(lanes, 10_000, 10_001, stream, "range", trace=run)) == 0


def stated(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(
        rows[["name", "count", "sum_ns", "exclusive_ns", "longest_ns"]].itertuples(
            index=False, name=None
        )
    )


def test_statistics_of_a_stretch_are_cut_at_its_ends_and_leave_out_what_is_inside() -> None:
    lanes = gpu_run().fact(timeline_lanes)
    rows = selection(lanes, 150, 400, [1, 2, 4]).set_index("name")
    assert rows.loc["aten::linear", ["count", "sum_ns", "exclusive_ns", "longest_ns"]].tolist() == [
        1,
        50,
        40,
        100,
    ]
    assert rows.loc["nccl_all_reduce", ["sum_ns", "exclusive_ns"]].tolist() == [100, 100]
    assert rows.loc["gemm", "share"] == pytest.approx(100 / (2 * 250)), "of two tracks"
    by_colour = selection(lanes, 150, 400, range(5), "category").set_index("category")
    assert by_colour.loc["sync-wait", "sum_ns"] == 190


def test_search_finds_every_hit_in_order_and_back() -> None:
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


def test_hits_at_one_instant_on_several_lanes_are_all_visited() -> None:
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


def test_the_flow_leads_from_the_operator_over_the_call_to_the_kernel_and_back() -> None:
    run = gpu_run()
    lanes = run.fact(timeline_lanes)
    op = event_at(run, lanes, 1, 105)
    assert op is not None and op.details == {"shapes": "[[2,3]]"}
    assert [(one.role, one.ts_ns) for one in op.effects] == [
        ("launch", 120),
        ("launch", 140),
        ("kernel", 200),
        ("kernel", 300),
    ]
    kernel = event_at(run, lanes, 4, 250)
    assert kernel is not None
    assert [(one.role, one.name) for one in kernel.causes] == [
        ("operator", "aten::addmm"),
        ("launch", "cudaLaunchKernel"),
    ]
    assert event_at(run, lanes, 4, 150) is None


def test_the_strip_counts_what_hides_other_things_first() -> None:
    shares = strip(gpu_run().fact(timeline_lanes), 1)
    assert shares["device-compute"][0] == pytest.approx(100 / 500)
    assert shares["exposed-communication"][0] == pytest.approx(200 / 500)


def test_a_trace_without_events_has_no_lanes() -> None:
    lanes = trace().fact(timeline_lanes)
    assert (lanes.lanes, lanes.tracks, lanes.events) == ([], [], 0)
    assert lanes.span_ns[1] > lanes.span_ns[0]


def test_too_many_threads_are_counted_and_the_busiest_shown() -> None:
    ops = [
        {"process": 0, "tid": tid, "ts": 10 * tid, "dur": 5, "name": "aten::add"}
        for tid in range(1, 1001)
    ]
    ops += [{"process": 0, "tid": 1000, "ts": 20_000, "dur": 5, "name": "aten::mul"}]
    lanes = trace(ops=ops).fact(timeline_lanes)
    assert len(lanes.tracks) == 400 and [one.title for one in lanes.tracks[:2]] == [
        "main thread",
        "thread 1000",
    ]
    assert lanes.notes == ["Not drawn: 600 more threads with 600 events."]


def test_events_of_one_depth_never_overlap_however_they_cross() -> None:
    rng = np.random.default_rng(3)
    ts, dur = np.sort(rng.integers(0, 3000, 800)), rng.integers(0, 200, 800)
    depth = nesting_depths(np.zeros(800, np.int64), ts, dur)
    rows = free_rows(ts, ts + dur)
    for row in (depth, rows):
        for one in range(int(row.max()) + 1):
            begin, end = ts[row == one], (ts + dur)[row == one]
            order = np.lexsort((end, begin))
            assert (begin[order][1:] >= end[order][:-1]).all()
    assert rows.max() <= depth.max()


@pytest.mark.shared_traces
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded traces are not here")
@pytest.mark.parametrize(
    "path", sorted(SHARED.glob("*.json.gz")), ids=lambda path: path.name.split(".")[0]
)
def test_a_recorded_trace_is_shown_whole_in_lanes_without_overlap(path: Path) -> None:
    run = load_trace(path)
    lanes = run.fact(timeline_lanes)
    for one in lanes.lanes:
        assert (one.ts[1:] >= one.ts[:-1] + one.dur(slice(None))[:-1]).all()
    for kind, table in (("thread", "ops"), ("calls", "launches"), ("stream", "kernels")):
        frame = run.table(table)
        tracks = [one for one in lanes.tracks if one.kind == kind]
        shown = sum(one.events + one.hidden for one in tracks)
        assert shown >= (0 if frame is None else len(frame))
