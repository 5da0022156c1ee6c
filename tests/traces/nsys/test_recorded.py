"""The tables of recorded exports, compared with SQL queries of the same files."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.load import load_trace
from tests.traces.kineto import recorded

FOLDER = recorded.FOLDER / "nsys"
pytestmark = [
    pytest.mark.shared_traces,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the recorded traces are not in {FOLDER}"),
]
FILES = ("h100_2gpu_before.sqlite", "h100_2gpu_1s.sqlite")


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return sorted(connection.execute(sql).fetchall())


@pytest.mark.parametrize("name", FILES)
def test_the_sums_by_device_direction_and_call_are_those_of_sql(name: str) -> None:
    path = FOLDER / name
    trace = load_trace(path)
    kernels, copies, launches = (
        trace.table("kernels"),
        trace.table("copies"),
        trace.table("launches"),
    )
    assert kernels is not None and copies is not None and launches is not None
    by_device = kernels.groupby("device")["dur"].agg(["count", "sum"]).reset_index()
    assert by_device.values.tolist() == [
        list(row)
        for row in query(
            path,
            "SELECT deviceId, count(*), sum(end - start) FROM CUPTI_ACTIVITY_KIND_KERNEL GROUP"
            " BY 1",
        )
    ]
    ways = {1: "h2d", 2: "d2h", 8: "d2d"}
    by_kind = query(
        path,
        "SELECT copyKind, count(*), sum(end - start), sum(bytes) FROM CUPTI_ACTIVITY_KIND_MEMCPY"
        " GROUP BY 1",
    )
    moved = copies[copies["direction"] != "memset"].groupby("direction", observed=True)
    found = {str(way): [len(rows), rows["dur"].sum(), rows["bytes"].sum()] for way, rows in moved}
    assert found == {ways[kind]: list(rest) for kind, *rest in by_kind}
    memsets = query(path, "SELECT count(*), sum(end - start) FROM CUPTI_ACTIVITY_KIND_MEMSET")
    rows = copies[copies["direction"] == "memset"]
    assert (len(rows), rows["dur"].sum()) == memsets[0]
    sql = """SELECT value, count(*), sum(end - start)
        FROM CUPTI_ACTIVITY_KIND_RUNTIME JOIN StringIds ON id = nameId GROUP BY 1"""
    by_call = launches.groupby("name", observed=True)["dur"].agg(["count", "sum"])
    expected = {
        text.partition("_v")[0] if "_v2_v" not in text else text[:-7]: sums
        for text, *sums in query(path, sql)
    }
    assert {str(call): row.tolist() for call, row in by_call.iterrows()} == expected


@pytest.mark.parametrize("name", FILES)
def test_every_kernel_has_the_launch_that_sql_finds(name: str) -> None:
    path = FOLDER / name
    trace = load_trace(path)
    kernels, launches = trace.table("kernels"), trace.table("launches")
    assert kernels is not None and launches is not None
    sql = """SELECT k.start - first.at, r.start - first.at
        FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN CUPTI_ACTIVITY_KIND_RUNTIME r
        ON r.correlationId = k.correlationId AND r.globalTid >> 24 = k.globalPid >> 24
        JOIN (SELECT ? AS at) first"""
    launched = kernels[kernels["launch"] >= 0]
    launch = launches.iloc[launched["launch"].to_numpy()]
    found = sorted(zip(launched["ts"].tolist(), launch["ts"].tolist(), strict=True))
    first = query(path, "SELECT min(start) FROM CUPTI_ACTIVITY_KIND_RUNTIME")[0][0] - int(
        launches["ts"].min()
    )
    assert found == query(path, sql.replace("?", str(first)))
    assert (launch["process"].to_numpy() == launched["process"].to_numpy()).all()


def test_sends_inside_an_all_to_all_of_torch_are_an_all_to_all() -> None:
    """66 SendRecv kernels: 64 were launched inside torch's all_to_all, 2 before the recording."""
    collectives = load_trace(FOLDER / FILES[0]).table("collectives")
    assert collectives is not None
    assert collectives["kind"].value_counts().to_dict() == {"all_to_all": 64, "send_recv": 2}


@pytest.mark.parametrize("name", FILES)
def test_operators_have_the_time_of_sql_and_are_within_their_parents(name: str) -> None:
    path = FOLDER / name
    ops = load_trace(path).table("ops")
    assert ops is not None
    sql = "SELECT count(*), sum(end - start) FROM NVTX_EVENTS WHERE text LIKE '%op_id = %'"
    assert (len(ops), ops["dur"].sum()) == query(path, sql)[0]
    parent = ops["parent"].to_numpy()
    child = ops[parent >= 0]
    outer = ops.iloc[parent[parent >= 0]]
    child_ends = (child["ts"] + child["dur"]).to_numpy()
    outer_ends = (outer["ts"] + outer["dur"]).to_numpy()
    assert (child["ts"].to_numpy() >= outer["ts"].to_numpy()).all()
    assert (child_ends <= outer_ends).all()
    assert (child["tid"].to_numpy() == outer["tid"].to_numpy()).all()
