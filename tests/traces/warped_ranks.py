"""Ranks made from one that was really recorded: its times stretched between collectives, which all
ranks leave together.

Every rank goes through the same collectives. Between them its time runs faster or slower (jitter;
one rank 20 % slower), in them it waits for the last; then its clock is shifted. Only the device's
work, its launches and the step marks are kept.
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
    """What is true of the made ranks: their clocks, and what each waited in collectives, us."""

    offsets_us: list[float]
    waited_us: list[float]


def warped_ranks(source: Path, folder: Path, ranks: int, slow: int) -> Warped:
    """Writes a file for each rank."""
    rng = random.Random(11)
    trace = json.loads(gzip.decompress(source.read_bytes()))
    events = [
        one
        for one in trace.pop("traceEvents")
        if one.get("ph") == "X" and one.get("cat", "").lower() in KEPT
    ]
    unions = together(
        [one for one in events if "nccl" in one["name"].lower() and one["cat"].lower() == "kernel"]
    )
    start_us = min(float(one["ts"]) for one in events)
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


def together(collectives: list[dict[str, Any]]) -> list[tuple[float, list[float]]]:
    """Collectives that overlap as one: its begin and the ends of all."""
    unions: list[tuple[float, list[float]]] = []
    for one in sorted(collectives, key=lambda one: float(one["ts"])):
        ts, end = float(one["ts"]), float(one["ts"]) + float(one["dur"])
        if unions and ts <= max(unions[-1][1]):
            unions[-1][1].append(end)
        else:
            unions.append((ts, [end]))
    return [(begin, sorted(set(ends))) for begin, ends in unions]


def moved_events(
    events: list[dict[str, Any]], at: list[tuple[float, float]], offset_us: float
) -> list[dict[str, Any]]:
    """The events at their new times; what follows the last collective keeps its pace."""
    old, new = np.array([pair[0] for pair in at]), np.array([pair[1] for pair in at])
    far = 1e9
    old, new = np.append(old, old[-1] + far), np.append(new, new[-1] + far)
    ts = np.array([float(one["ts"]) for one in events])
    ends = ts + np.array([float(one.get("dur", 0)) for one in events])
    ts, ends = (
        np.interp(ts - old[0], old - old[0], new - old[0]),
        np.interp(ends - old[0], old - old[0], new - old[0]),
    )
    base = round(old[0] + offset_us)
    return [
        {**one, "ts": round(float(begin) + base, 3), "dur": round(float(end - begin), 3)}
        for one, begin, end in zip(events, ts, ends, strict=True)
    ]
