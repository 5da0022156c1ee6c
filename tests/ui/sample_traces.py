"""A small trace with rows in every table that the views show."""

from typing import Any

from perfscope.traces.trace import Trace
from tests.build import MAIN, trace

MS = 1_000_000
STEP, WAIT, STEPS = 10 * MS, 7 * MS, 60
HOSTILE = '<script>alert(1)</script> & "Net" (evil.py:1)'


def input_bound(steps: int = STEPS, slow: dict[int, int] | None = None) -> Trace:
    """Return steps of 10 ms, of which 7 wait for two workers that decode.

    `slow`: step -> its wait in ns instead.
    """
    loader: list[dict[str, Any]] = []
    ranges: list[dict[str, Any]] = []
    fetches: list[dict[str, Any]] = []
    common = {"process": 0, "tid": 100}
    late = 0
    for step in range(steps):
        ts, wait = step * STEP + late, (slow or {}).get(step, WAIT)
        late += wait - WAIT
        loader.append(
            {
                **common,
                "ts": ts,
                "dur": wait,
                "kind": "next",
                "iterator": 1,
                "loader": 1,
                "workers": 2,
                "end": 0,
            }
        )
        ranges.append(
            {
                **common,
                "ts": ts + wait,
                "dur": MS,
                "category": "forward",
                "name": HOSTILE,
                "object": 1,
                "value": 1,
            }
        )
        ranges.append(
            {**common, "ts": ts + wait + MS, "dur": MS, "category": "backward", "name": "backward"}
        )
        ranges.append(
            {
                **common,
                "ts": ts + wait + 2 * MS,
                "dur": MS // 2,
                "category": "optimizer",
                "name": "SGD",
                "object": 2,
            }
        )
        worker = step % 2
        made = {
            "process": 1 + worker,
            "tid": 101 + worker,
            "worker": worker,
            "ts": max(ts - STEP, 0),
            "dur": 2 * STEP - MS,
        }
        fetches.append(
            {
                **made,
                "dataset_ns": 2 * STEP - 2 * MS,
                "collate_ns": MS,
                "cpu_ns": STEP,
                "run_delay_ns": STEP - MS,
            }
        )
    workers = [
        {
            **MAIN,
            "process": 1 + n,
            "pid": 101 + n,
            "ns_pid": 101 + n,
            "role": "loader-worker",
            "worker": n,
            "parent": 0,
        }
        for n in (0, 1)
    ]
    counters = [
        {"process": process, "ts": second * 900 * MS, "name": name, "value": value * second}
        for process in (0, 1, 2)
        for second in range(4)
        for name, value in (
            ("cpu_ns", 190.0 * MS),
            ("run_delay_ns", 90.0 * MS),
            ("rss_bytes", 1e8),
            ("read_bytes", 1e6),
        )
    ]
    stacks = [
        {
            "process": process,
            "tid": 100 + process,
            "ts": number * STEP,
            "weight_ns": STEP,
            "stack": f"main (t.py:1);{HOSTILE}",
        }
        for process in (0, 1)
        for number in range(STEPS)
    ]
    tables = {
        "loader": loader,
        "ranges": ranges,
        "fetches": fetches,
        "counters": counters,
        "stacks": stacks,
    }
    return trace(
        processes=[MAIN, *workers],
        manifest={"usable_cores": {"cores": 2.0, "affinity": 2}},
        **tables,
    )
