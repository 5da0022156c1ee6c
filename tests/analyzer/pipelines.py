"""Traces of a training process and its loader workers, each with one bottleneck; times in
milliseconds.
"""

from typing import Any

from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop

Rows = list[dict[str, Any]]


def worker_process(worker: int, parent: int = 0) -> dict[str, Any]:
    """Return the row of a loader worker; process codes start at 10."""
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
    """Return readings of cumulative counters at both ends and the middle of `span` ns; the values
    grow by this much per second.
    """
    return [
        {"process": process, "tid": tid, "ts": at, "name": name, "value": rate * at / 1e9}
        for (process, tid, name), rate in per_s.items()
        for at in (0, span // 2, span)
    ]


def host(cores: float, busy: float, count: int = 4) -> dict[tuple[int, int, str], float]:
    """Return the rates of the CPU counters: `cores` used by the main process, and the share `busy`
    of `count` cores used by the whole host.
    """
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
    stack: str | None = None,
    library: str | None = None,
) -> Trace:
    """Return the trace of a loop of `wait` + 10 ms per step; each of its workers fetches a batch
    after the other.

    `fetch`: wall, collate, cpu and delay in ms, read in bytes, samples of a batch. `states`: the
    state in which the workers' threads are sampled. `stack`: the frames below torch's fetcher in
    which they are (or the loop is, without workers); `library`: whose code they run. `below`: the
    process that forked the workers; without it, the rank's main process.
    """
    loop = Loop()
    for _ in range(steps):
        loop.next(wait, workers=workers, queue_depth=depth).forward(4).backward(4).optimizer(2)
    processes: Rows = [build.MAIN] if below is None else [build.MAIN, below]
    rows: Rows = []
    for worker in range(workers):
        processes.append(worker_process(worker, 0 if below is None else below["process"]))
        fetching = Loop(process=10 + worker, tid=200 + worker)
        while fetching.at + fetch["wall"] * MS <= loop.at:
            fetching.add("fetches", fetch["wall"], worker=worker, **fetch_columns(fetch))
        rows += fetching.tables["fetches"]
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
    loading = [(10 + worker, 200 + worker) for worker in range(workers)] or [(0, 100)]
    if stack is not None:
        table = "stacks" if workers else "outside_stacks"
        more[table] = loading_samples(loading, loop.at, stack=fetch_stack(stack), weight_ns=5 * MS)
    if library is not None:
        native = loading_samples(loading, loop.at, library=library, weight_ns=5 * MS)
        more["native_samples"] = native
    used = counters(loop.at, {**host(cores, busy), **(rates or {})})
    used.append({"process": -1, "tid": -1, "ts": 0, "name": "host_cpu_count", "value": 4.0})
    return loop.trace(manifest=manifest, counters=used, **more)


def fetch_columns(fetch: dict[str, float]) -> dict[str, int]:
    """Return the columns of a row of `fetches`."""
    return {
        "dataset_ns": round((fetch["wall"] - fetch.get("collate", 0)) * MS),
        "collate_ns": round(fetch.get("collate", 0) * MS),
        "cpu_ns": round(fetch.get("cpu", 0) * MS),
        "run_delay_ns": round(fetch.get("delay", 0) * MS),
        "read_bytes": round(fetch.get("read", 0)),
        "samples": round(fetch.get("samples", -1)),
        "major_faults": 0,
    }


def loading_samples(threads: list[tuple[int, int]], end: int, **columns: Any) -> Rows:
    """Return a sample every 5 ms of each of these threads (process, tid)."""
    return [
        {"process": process, "tid": tid, "ts": at, **columns}
        for process, tid in threads
        for at in range(0, end, 5 * MS)
    ]


def fetch_stack(frames: str) -> str:
    """Return a stack inside torch's fetcher, with these frames below it."""
    outer = "main (./train.py:40);__next__ (torch/utils/data/dataloader.py:700)"
    return f"{outer};fetch (torch/utils/data/_utils/fetch.py:54);{frames}"
