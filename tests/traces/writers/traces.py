"""A trace with everything that a format may stumble over, and how tables are compared."""

from typing import Any

import pandas as pd

from perfscope.traces.trace import Trace
from tests.build import MAIN, trace

ODD_NAMES = [
    'say "hello"\\n',
    "two\nlines\ttab",
    "<script>alert(1)</script>",
    "comma, semicolon; \x00 nul",
    "矩阵乘法 ∑ é \U0001f600",
    "void k<float, 4>(T*)::{lambda()#1}",
]
STACKS = [
    {"tid": 100, "ts": at, "weight_ns": 10, "stack": stack}
    for at, stack in ((1, "main (a.py:1);f (a.py:2)"), (2, "main (a.py:1)"), (3, None))
]
COUNTERS = [
    {"ts": 5, "tid": -1, "name": "rss_bytes", "value": 5.0},
    {"ts": 6, "tid": -1, "name": "x", "value": float("nan")},
]


def odd_trace() -> Trace:
    """Return a trace of two processes on two devices, with nested calls, ranges that overlap, and
    kernels that run at the same time on one stream.
    """
    two = {**MAIN, "process": 1, "pid": 200, "ns_pid": 200, "rank": 1, "name": 'rank "1"'}
    ops = [
        {"tid": 100, "ts": 1000 * at + 1, "dur": 900, "name": name, "parent": -1}
        for at, name in enumerate(ODD_NAMES)
    ]
    ops.append(
        {
            "tid": 100,
            "ts": 11,
            "dur": 500,
            "name": "inner",
            "parent": 0,
            "sequence": 3,
            "shapes": "[[2, 3], []]",
        }
    )
    launches = [
        {
            "tid": 100,
            "ts": 20,
            "dur": 7,
            "name": "cudaLaunchKernel",
            "kind": "kernel",
            "correlation": 1,
            "op": 6,
        },
        {
            "tid": 100,
            "ts": 1020,
            "dur": 5,
            "name": "cudaMemcpyAsync",
            "kind": "copy",
            "correlation": 2,
            "op": 1,
        },
        {
            "tid": 200,
            "process": 1,
            "ts": 21,
            "dur": 7,
            "name": "cudaLaunchKernel",
            "kind": "kernel",
            "correlation": 3,
            "op": -1,
        },
    ]
    on_device = {"stream": 7, "kind": "compute"}
    kernels = [
        {
            "device": 0,
            "ts": 40,
            "dur": 1_234_567,
            "name": ODD_NAMES[5],
            "correlation": 1,
            "launch": 0,
            **on_device,
        },
        {
            "device": 0,
            "ts": 60,
            "dur": 2_000_000,
            "name": "beside it",
            "correlation": 1,
            "launch": 0,
            **on_device,
        },
        {
            "device": 1,
            "process": 1,
            "ts": 41,
            "dur": 9,
            "name": "ncclDevKernel_AllReduce",
            "correlation": 3,
            "launch": 2,
        }
        | {"stream": 7, "kind": "communication"},
    ]
    ranges = [
        {"tid": 100, "ts": 0, "dur": 5500, "category": "annotation", "name": "outer"},
        {"tid": 100, "ts": 5000, "dur": 4000, "category": "annotation", "name": "overlaps outer"},
        {
            "tid": 100,
            "ts": 9_007_199_254,
            "dur": 1,
            "category": "annotation",
            "name": "late, to the nanosecond",
        },
    ]
    return trace(
        manifest={"zero_realtime_ns": 1_700_000_000_000_000_001},
        processes=[MAIN, two],
        threads=[{"tid": 100, "name": "main\n", "main": True}],
        devices=[
            {
                "device": 0,
                "name": 'H100 "80 GB"',
                "kind": "cuda",
                "memory_bytes": 80 << 30,
                "multiprocessors": 132,
            }
        ],
        ops=ops,
        launches=launches,
        kernels=kernels,
        copies=[
            {
                "ts": 1030,
                "dur": 99,
                "direction": "h2d",
                "bytes": 64,
                "pinned": 0,
                "device": 0,
                "stream": 7,
            }
            | {"correlation": 2, "launch": 1},
        ],
        collectives=[
            {
                "device": 1,
                "process": 1,
                "stream": 7,
                "ts": 41,
                "dur": 9,
                "kind": "all_reduce",
                "in_bytes": 16,
                "out_bytes": 16,
            }
            | {"dtype": "Float", "group": "default_pg", "group_size": 2, "kernel": 2},
        ],
        ranges=ranges,
        memory=[
            {"device": 0, "ts": 50, "bytes": -512, "allocated_bytes": 0, "reserved_bytes": 1 << 40}
        ],
        loader=[{"tid": 100, "ts": 9500, "dur": 20, "kind": "next", "workers": 0}],
        stacks=STACKS,
        counters=COUNTERS,
    )


def cells(found: Trace, table: str, *columns: str) -> list[list[Any]]:
    """Return the rows of a table, sorted by their cells, with None for a missing name."""
    frame = found.table(table)
    assert frame is not None, found.why_absent(table)
    picked = frame[list(columns)].astype(object)
    return sorted(picked.where(picked.notna(), None).values.tolist(), key=repr)


def assert_same_cells(table: pd.DataFrame, other: pd.DataFrame) -> None:
    """Assert that cells and types are the same; categories may have other numbers."""
    assert list(table.columns) == list(other.columns)
    for name in table.columns:
        left, right = table[name], other[name]
        if isinstance(left.dtype, pd.CategoricalDtype):
            left, right = left.astype(object), right.astype(object)
        pd.testing.assert_series_equal(
            left, right, check_dtype=not isinstance(table[name].dtype, pd.CategoricalDtype)
        )
