"""Traces of one training process and its loader workers, each ill in one way; times in
milliseconds.
"""

from typing import Any

from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop

Rows = list[dict[str, Any]]


def worker_process(worker: int, parent: int = 0) -> dict[str, Any]:
    """The row of a loader worker: process codes from 10."""
    return {
        "process": 10 + worker,
        "pid": 200 + worker,
        "ns_pid": 200 + worker,
        "parent": parent,
        "role": "loader-worker",
        "worker": worker,
        "rank": 0,
    }


def counters(span: int, per_s: dict[tuple[int, int, str], float]) -> Rows:
    """Readings of cumulative counters at both ends and the middle; values grow by this much per
    second of `span` ns.
    """
    return [
        {"process": process, "tid": tid, "ts": at, "name": name, "value": rate * at / 1e9}
        for (process, tid, name), rate in per_s.items()
        for at in (0, span // 2, span)
    ]


def host(cores: float, busy: float, count: int = 4) -> dict[tuple[int, int, str], float]:
    """CPU used by the main process, and the whole host's share that is busy."""
    return {(0, -1, "cpu_ns"): cores * 1e9, (-1, -1, "host_cpu_busy_ns"): busy * count * 1e9}


def pipeline(
    *,
    wait: float,
    fetch: dict[str, float],
    workers: int = 2,
    steps: int = 40,
    depth: int = 0,
    cores: float = 1.0,
    busy: float = 0.3,
    states: str | None = None,
    rates: dict[tuple[int, int, str], float] | None = None,
    manifest: dict[str, Any] | None = None,
    below: dict[str, Any] | None = None,
) -> Trace:
    """A loop of `wait` + 10 ms a step whose workers each fetch one batch after the other; `below`:
    the process that forked them, the rank itself where none is given.

    `fetch`: wall, collate, cpu, delay in ms, read in bytes. `states`: what the workers' threads are
    sampled in.
    """
    loop = Loop()
    for _ in range(steps):
        loop.next(wait, workers=workers, queue_depth=depth).forward(4).backward(4).optimizer(2)
    processes: Rows = [build.MAIN] if below is None else [build.MAIN, below]
    rows: Rows = []
    for worker in range(workers):
        processes.append(worker_process(worker, 0 if below is None else below["process"]))
        one = Loop(process=10 + worker, tid=200 + worker)
        while one.at + fetch["wall"] * MS <= loop.at:
            one.add("fetches", fetch["wall"], worker=worker, **fetch_columns(fetch))
        rows += one.tables["fetches"]
    if workers == 0:
        for ask in loop.tables["loader"]:
            rows.append(
                {
                    "process": 0,
                    "tid": 100,
                    "ts": ask["ts"],
                    "dur": ask["dur"],
                    "worker": -1,
                    **fetch_columns(fetch),
                }
            )
    more: dict[str, Rows] = {"processes": processes, "fetches": rows}
    if states is not None:
        more["thread_states"] = [
            {"process": 10 + worker, "tid": 200 + worker, "ts": at, "state": states}
            for worker in range(workers)
            for at in range(0, loop.at, 5 * MS)
        ]
    used = counters(loop.at, {**host(cores, busy), **(rates or {})})
    used.append({"process": -1, "tid": -1, "ts": 0, "name": "host_cpu_count", "value": 4.0})
    return loop.trace(manifest=manifest, counters=used, **more)


def fetch_columns(fetch: dict[str, float]) -> dict[str, int]:
    """The columns of a fetch row."""
    return {
        "dataset_ns": round((fetch["wall"] - fetch.get("collate", 0)) * MS),
        "collate_ns": round(fetch.get("collate", 0) * MS),
        "cpu_ns": round(fetch.get("cpu", 0) * MS),
        "run_delay_ns": round(fetch.get("delay", 0) * MS),
        "read_bytes": round(fetch.get("read", 0)),
        "major_faults": 0,
    }
