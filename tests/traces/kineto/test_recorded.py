"""Recorded traces of many versions: their events, times and links are those of the file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.traces.kineto.json_counts import count_events
from tests.traces.kineto.recorded import FILES, WHERE, each_recorded

pytestmark = [pytest.mark.shared_traces, WHERE]
COUNTED = ("ops", "launches", "kernels", "copies", "ranges", "loader", "memory")


def table(trace: Trace, name: str) -> pd.DataFrame:
    found = trace.table(name)
    assert found is not None, name
    return found


def recorded(name: str) -> Trace:
    (path,) = [path for path in FILES if path.name.startswith(name)]
    return load_trace(path)


@each_recorded()
def test_every_event_is_in_its_table_at_its_nanosecond(path: Path) -> None:
    plain, trace = count_events(path), load_trace(path)
    for name in COUNTED:
        found = trace.table(name)
        rows = 0 if found is None else len(found)
        assert rows == plain.rows[name], name
        if found is None:
            continue
        assert int(found["ts"].sum()) == plain.ts_ns[name], name
        if "dur" in found:
            assert int(found["dur"].sum()) == plain.dur_ns[name], name
        if name in ("ops", "launches", "kernels", "ranges"):
            assert found["name"].value_counts()[lambda count: count > 0].to_dict() == dict(
                plain.names[name]
            ), name
    assert trace.manifest.dropped == []


@each_recorded()
def test_launched_work_has_the_correlation_of_its_launch_and_begins_after_it(path: Path) -> None:
    trace = load_trace(path)
    launches = trace.table("launches")
    for name in ("kernels", "copies"):
        started = trace.table(name)
        if started is None or launches is None:
            continue
        linked = started[started["launch"] >= 0]
        by = launches.iloc[linked["launch"].to_numpy()]
        assert (by["correlation"].to_numpy() == linked["correlation"].to_numpy()).all()
        unlinked = started[(started["launch"] < 0) & (started["correlation"] > 0)]
        assert not np.isin(unlinked["correlation"], launches["correlation"]).any()


@each_recorded()
def test_an_operator_is_within_its_parent(path: Path) -> None:
    ops = table(load_trace(path), "ops")
    inner = ops[ops["parent"] >= 0]
    outer = ops.iloc[inner["parent"].to_numpy()]
    starts, ends = outer["ts"].to_numpy(), (outer["ts"] + outer["dur"]).to_numpy()
    assert (inner["tid"].to_numpy() == outer["tid"].to_numpy()).all()
    assert ((inner["ts"].to_numpy() >= starts) & (inner["ts"].to_numpy() < ends)).all()


@pytest.mark.parametrize(
    ("name", "graphs", "plain"), [("vllm_prefill", 361, 52), ("mi300x_sglang", 544, 11)]
)
def test_kernels_of_a_graph_belong_to_the_launch_of_the_graph(
    name: str, graphs: int, plain: int
) -> None:
    trace = recorded(name)
    kernels, launches = table(trace, "kernels"), table(trace, "launches")
    assert (int(kernels["graph"].sum()), int((~kernels["graph"]).sum())) == (graphs, plain)
    by = launches.iloc[kernels.loc[kernels["graph"], "launch"].to_numpy()]
    assert by["name"].str.contains("GraphLaunch").all()


def test_a_backward_operator_has_the_sequence_number_of_its_forward() -> None:
    ops = table(recorded("a100_nccl_metadata"), "ops")
    backward = ops[ops["forward_tid"] > 0]
    assert len(backward) == 1086
    assert np.isin(backward["sequence"], ops.loc[ops["forward_tid"] <= 0, "sequence"]).mean() > 0.9


def test_a_collective_has_its_bytes_type_group_and_size() -> None:
    collectives = table(recorded("a100_nccl_metadata"), "collectives")
    assert len(collectives) == 21 and set(collectives["group_size"]) == {2}
    assert (collectives["in_bytes"] > 0).all() and collectives["group"].notna().all()
    assert set(collectives["kind"]) <= {"all_reduce", "broadcast", "all_gather", "reduce_scatter"}


def test_copies_have_direction_and_pinned_memory_where_the_profiler_records_them() -> None:
    copies = table(recorded("a100_16ranks"), "copies")
    assert set(copies["direction"]) <= {"h2d", "d2h", "d2d", "p2p", "memset"}
    h2d = copies[copies["direction"] == "h2d"]
    assert h2d["pinned"].value_counts().to_dict() == {0: 45, 1: 35}
    assert (h2d["bytes"] > 0).all()
