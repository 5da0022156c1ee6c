"""Traces of a data-parallel job in the format of the PyTorch profiler, with known clocks and one
slow rank.
"""

import gzip
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

T0_US = 1_700_000_000_000_000.0
NCCL = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
ELEMENTS = 1 << 22


@dataclass
class GeneratedRanks:
    """The files of the ranks, the errors of their clocks and their waits for each other, in us."""

    paths: list[Path]
    offsets_us: list[float]
    waited_us: list[float]
    files: dict[str, Any] = field(default_factory=dict)


def generated_ranks(
    folder: Path, ranks: int = 4, slow: int = 2, steps: int = 8, **around: Any
) -> GeneratedRanks:
    """Write and return traces with steps of twenty kernels and two exposed all-reduces.

    Rank `slow` computes 20 % longer. `around`: fields of the file other than its events.
    """
    rng = random.Random(5)
    offsets = [rng.uniform(-3000, 3000) for _ in range(ranks)]
    events: list[list[dict[str, Any]]] = [[] for _ in range(ranks)]
    waited, free, correlation = [0.0] * ranks, [0.0] * ranks, 0
    for step in range(steps):
        begin = list(free)
        for half in range(2):
            ready = []
            for rank in range(ranks):
                at = free[rank] + (20 if half == 0 else 3)
                for _ in range(10):
                    dur = rng.uniform(100, 140) * (1.2 if rank == slow else 1.0)
                    correlation += 1
                    events[rank] += launched(
                        "ampere_sgemm_128x64_tn",
                        at,
                        dur,
                        correlation=correlation,
                        rank=rank,
                        stream=7,
                    )
                    at += dur + 1
                ready.append(at + 2)
            end = max(ready) + 60
            for rank in range(ranks):
                correlation += 1
                more = {
                    "Collective name": "allreduce",
                    "In msg nelems": ELEMENTS,
                    "Out msg nelems": ELEMENTS,
                    "dtype": "Float",
                    "Group size": ranks,
                    "Process Group Name": "0",
                    "Process Group Ranks": str(list(range(ranks))),
                }
                events[rank] += launched(
                    NCCL,
                    ready[rank],
                    end - ready[rank],
                    correlation=correlation,
                    rank=rank,
                    stream=20,
                    **more,
                )
                waited[rank] += max(ready) - ready[rank]
                free[rank] = end
        for rank in range(ranks):
            events[rank].append(
                event(
                    "user_annotation",
                    f"ProfilerStep#{step}",
                    begin[rank],
                    free[rank] - begin[rank] - 1,
                    pid=1000 + rank,
                )
            )
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for rank in range(ranks):
        for row in events[rank]:
            row["ts"] = round(T0_US + 10_000 + row["ts"] + offsets[rank], 3)
        info = {"backend": "nccl", "rank": rank, "world_size": ranks}
        whole = {"schemaVersion": 1, "distributedInfo": info, "traceEvents": events[rank]} | around
        paths.append(folder / f"rank{rank}.json.gz")
        write(paths[-1], whole)
    return GeneratedRanks(paths, offsets, waited)


def write(path: Path, whole: dict[str, Any]) -> None:
    with gzip.open(path, "wt", compresslevel=1) as file:
        json.dump(whole, file)


def event(
    category: str, name: str, ts: float, dur: float, *, pid: int, tid: int = 1, **args: Any
) -> dict[str, Any]:
    return {
        "ph": "X",
        "cat": category,
        "name": name,
        "pid": pid,
        "tid": tid,
        "ts": ts,
        "dur": dur,
        "args": args,
    }


def launched(
    name: str, at: float, dur: float, *, correlation: int, rank: int, stream: int, **more: Any
) -> list[dict[str, Any]]:
    """Return a kernel and the call that launched it, 15 us before."""
    place = {"stream": stream, "device": 0, "correlation": correlation}
    kernel = event("kernel", name, at, round(dur, 3), pid=0, tid=stream, **place, **more)
    pid = 1000 + rank
    call = event("cuda_runtime", "cudaLaunchKernel", at - 15, 5, pid=pid, correlation=correlation)
    return [call, kernel]
