"""Traces of several ranks, made from the trace of one by stretching the time between collectives.

Every rank runs the same collectives. Between them it is faster or slower (jitter; one rank is 20 %
slower), in them it waits for the last rank; then its clock is shifted. Only the work of the device,
its launches and the step marks are kept.
"""

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

KEPT = ("kernel", "gpu_memcpy", "gpu_memset", "cuda_runtime", "cuda_driver", "user_annotation")


@dataclass
class Warped:
    """The clock error of each rank and its waits in collectives, in us."""

    offsets_us: list[float]
    waited_us: list[float]


def warped_ranks(source: Path, folder: Path, ranks: int, slow: int) -> Warped:
    """Write a file for each rank, and return the truth about the ranks."""
    rng = random.Random(11)
    trace = json.loads(gzip.decompress(source.read_bytes()))
    events = [
        event
        for event in trace.pop("traceEvents")
        if event.get("ph") == "X" and event.get("cat", "").lower() in KEPT
    ]
    kernels = [event for event in events if event["cat"].lower() == "kernel"]
    unions = unions_of([kernel for kernel in kernels if "nccl" in kernel["name"].lower()])
    start_us = min(float(event["ts"]) for event in events)
    at: list[list[tuple[float, float]]] = [[(start_us, start_us)] for _ in range(ranks)]
    waited = [0.0] * ranks
    for begin, ends in unions:
        ready = []
        for rank in range(ranks):
            old, new = at[rank][-1]
            pace = rng.uniform(0.98, 1.02) * (1.2 if rank == slow else 1.0)
            ready.append(new + (begin - old) * pace)
        last = max(ready)
        for rank in range(ranks):
            at[rank] += [(begin, ready[rank]), *((end, last + end - begin) for end in ends)]
            waited[rank] += last - ready[rank]
    offsets = [0.0, *(rng.uniform(-5000, 5000) for _ in range(ranks - 1))]
    folder.mkdir(parents=True)
    for rank in range(ranks):
        moved = moved_events(events, at[rank], offsets[rank])
        info = {"backend": "nccl", "rank": rank, "world_size": ranks}
        with gzip.open(folder / f"rank{rank}.json.gz", "wt", compresslevel=1) as file:
            json.dump({**trace, "distributedInfo": info, "traceEvents": moved}, file)
    return Warped(offsets, waited)


def unions_of(collectives: list[dict[str, Any]]) -> list[tuple[float, list[float]]]:
    """Return (begin, ends of all) of each group of collectives that overlap."""
    unions: list[tuple[float, list[float]]] = []
    for collective in sorted(collectives, key=lambda event: float(event["ts"])):
        ts = float(collective["ts"])
        end = ts + float(collective["dur"])
        if unions and ts <= max(unions[-1][1]):
            unions[-1][1].append(end)
        else:
            unions.append((ts, [end]))
    return [(begin, sorted(set(ends))) for begin, ends in unions]


def moved_events(
    events: list[dict[str, Any]], at: list[tuple[float, float]], offset_us: float
) -> list[dict[str, Any]]:
    """Return the events at their new times; those after the last collective keep their pace."""
    old, new = np.array([pair[0] for pair in at]), np.array([pair[1] for pair in at])
    far = 1e9
    old, new = np.append(old, old[-1] + far), np.append(new, new[-1] + far)
    ts = np.array([float(event["ts"]) for event in events])
    ends = ts + np.array([float(event.get("dur", 0)) for event in events])
    ts, ends = (
        np.interp(ts - old[0], old - old[0], new - old[0]),
        np.interp(ends - old[0], old - old[0], new - old[0]),
    )
    base = round(old[0] + offset_us)
    return [
        {**event, "ts": round(float(begin) + base, 3), "dur": round(float(end - begin), 3)}
        for event, begin, end in zip(events, ts, ends, strict=True)
    ]
