"""Devices on the screens: charts with the job's steps in the background, the map of links, and
counters as lanes of the timeline.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from perfscope.analyzer.devices.job_phases import JobPhases, job_phases
from perfscope.analyzer.devices.link_map import DEVICE, NODE, SWITCH, link_maps
from perfscope.analyzer.run.accelerators.device_use import all_devices
from perfscope.analyzer.timeline.lane import EVENT_COLORS
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.selection import selection
from perfscope.analyzer.timeline.tiles import LEVELS, tile
from perfscope.analyzer.timeline.track import COUNTER
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.trace import Trace
from perfscope.ui.figures.counter_lines import CounterLine, counter_lines, thinned_line
from perfscope.ui.figures.link_map import link_map
from perfscope.ui.html.devices import devices
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Table, table_card
from perfscope.ui.timeline.component_json import legend_colors
from perfscope.ui.timeline.embedded import without_counters
from tests import build
from tests.analyzer.loop import MS, Loop

CHARTS = {"device-counters", "link-map-0"}
SHARED = {"Kernel active", "Memory in use", "Power", "SM clock"}


@pytest.fixture(scope="module")
def healthy(trace_of: Callable[[str], Trace]) -> Trace:
    return trace_of("healthy-h100")


def test_the_counters_of_a_device_have_charts(healthy: Trace) -> None:
    parts = devices(healthy)
    table, charts = parts[0], {part.id: part for part in parts if isinstance(part, Section)}
    assert isinstance(table, Table) and table.rows["power"].tolist() == ["560 of 700 W"]
    assert 'id="table-devices" class="wraps"' in table_card(table), "many columns fit a laptop"
    assert set(charts) >= CHARTS
    assert not set(charts) & {"device-kernels", "device-power", "device-clock", "device-memory"}
    figure = charts["device-counters"].figure
    assert {each.text for each in figure.layout.annotations} == SHARED
    (power,) = [line for line in figure.data if line.mode == "lines" and set(line.y) == {560.0}]
    assert power.name == "GPU 0" and power.yaxis == "y3"
    domains = [figure.layout[f"yaxis{number}"].domain for number in ("", 2, 3, 4)]
    assert all(low[1] < high[0] for high, low in pairwise(domains)), "panels do not overlap"
    steps = len(healthy.fact(job_phases).steps)
    marks = [shape for shape in figure.layout.shapes if shape.yref == "paper"]
    assert len([shape for shape in marks if shape.type == "line"]) == (steps if steps <= 120 else 0)
    assert devices(build.trace()) == []


def test_a_lost_device_is_reported_next_to_the_table(
    trace_of: Callable[[str], Trace], healthy: Trace
) -> None:
    lost, whole = devices(trace_of("off-the-bus"))[0], devices(healthy)[0]
    assert "GPU 1 " in lost.note and "GPU 1 " not in whole.note


def test_devices_without_measurements_have_neither_table_nor_map() -> None:
    named = build.trace(ops=[{"process": 0, "tid": 1, "ts": 0, "dur": 9, "name": "aten::a"}])
    named.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    assert named.fact(all_devices) and devices(named) == []


def test_the_map_shows_which_links_join_the_devices(healthy: Trace) -> None:
    (links,) = healthy.fact(link_maps)
    kinds = {endpoint.name: endpoint.kind for endpoint in links.endpoints}
    assert (kinds["GPU 0"], kinds["switch"], kinds["node 0"]) == (DEVICE, SWITCH, NODE)
    edges = {(edge.first, edge.second): edge for edge in links.edges}
    assert edges["GPU 0", "switch"].links == 18 and "18 NVLinks" in edges["GPU 0", "switch"].text
    assert edges["GPU 0", "node 0"].text.startswith("PCIe 5.0 x16")
    assert any("18 NVLinks" in str(trace.text) for trace in link_map(links).data)


def test_counters_are_lanes_of_levels_and_are_not_selected_as_work(healthy: Trace) -> None:
    lanes = healthy.fact(timeline_lanes)
    counters = {track.title: track for track in lanes.tracks if track.kind == COUNTER}
    first = counters["GPU 0 power, up to 700 W"].first
    power = lanes.lanes[first]
    expected = int(np.ceil(255 * 560 / 700))
    assert power.level is not None and set(power.level) == {expected}
    body = tile(lanes.lanes, *lanes.span_ns, 64, [first])
    assert body[20] == LEVELS and len(body) == 16 + 16 + 4 + 64
    # The recording begins before the first reading and ends after the last one.
    levels = bytes(body[-64:]).strip(b"\0")
    assert set(levels) == {expected} and len(levels) > 32
    numbers = [track.first for track in counters.values()]
    assert not len(selection(lanes, *lanes.span_ns, numbers))
    # The color of levels has no meaning and is not in the legend.
    assert "checkpoint" not in {EVENT_COLORS[code] for code in legend_colors(lanes.names)}
    others = without_counters(lanes)
    assert not any(track.kind == COUNTER for track in others.tracks)
    assert all(lane.level is None for lane in others.lanes)


def test_the_memory_of_the_allocator_is_a_lane() -> None:
    memory = [
        {"device": 0, "ts": ms * MS, "bytes": 1, "allocated_bytes": held, "reserved_bytes": 400}
        for ms, held in ((0, 100), (10, 200), (20, 400), (30, 50))
    ]
    ops = [{"tid": 1, "ts": 0, "dur": 40 * MS, "name": "aten::a"}]
    lanes = build.trace(memory=memory, ops=ops).fact(timeline_lanes)
    (track,) = [track for track in lanes.tracks if track.kind == COUNTER]
    lane = lanes.lanes[track.first]
    assert lane.level is not None and lane.level.tolist() == [64, 128, 255, 32]
    assert lane.ts.tolist() == [0, 10 * MS, 20 * MS, 30 * MS]
    assert [lanes.names.texts[code] for code in lane.code(slice(0, 4))][2] == "0 MB"


def test_steps_and_other_phases_are_in_the_background() -> None:
    loop = Loop()
    for _ in range(8):
        loop.next().work()
    loop.call("checkpoint", 5)
    found = loop.trace().fact(job_phases)
    assert len(found.steps) == 6 and found.stretches[-1][2] == "checkpoint"
    line = CounterLine("GPU 0", np.array([0.0, 1.0]), np.array([10.0, 20.0]))
    drawn = counter_lines(
        [line],
        "W",
        (0.0, 1.0),
        JobPhases([0, 500 * MS], [(0, 100 * MS, "checkpoint")]),
        limit=700.0,
    )
    assert len(drawn.layout.shapes) == 2 and drawn.data[1].name == "steps begin"


def test_thinning_keeps_every_peak() -> None:
    at = np.arange(100_000.0)
    value = np.ones(100_000)
    value[[12_345, 77_777]] = [50.0, -3.0]
    kept_at, kept = thinned_line(at, value)
    assert len(kept) <= 1002 and kept.max() == 50.0 and kept.min() == -3.0
    assert kept_at[kept == 50.0].tolist() == [12_345.0]
