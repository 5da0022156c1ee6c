"""Writes a job of many small ranks: a Kineto trace of about 1,500 events for each rank.

    python -m benchmarks.make_small_ranks FOLDER RANKS [EVENTS]

Every step loads a batch, computes, and reduces its gradients in collectives in between. Rank 1 is a
fifth slower than the others, and the clocks differ by milliseconds.
"""

import gzip
import json
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENTS = 1500
OPERATORS = 40
EVENTS_PER_STEP = 3 * OPERATORS + 4 * 3 + 4
COLLECTIVE_EVERY = 10
KERNEL_US = 30.0
LOAD_US = 180.0
SLOW_RANK, SLOWER = 1, 1.2
HOST_THREAD, DEVICE_STREAM, COLLECTIVE_STREAM = 11, 7, 20


@dataclass
class RankEvents:
    """The events of one rank as they are written, with its clocks on host and device in us."""

    rank: int
    ranks: int
    offset_us: float
    events: list[dict[str, Any]] = field(default_factory=list)
    correlation: int = 0

    def add(self, cat: str, name: str, begin_us: float, dur_us: float, **args: Any) -> None:
        """Append one event of the host, or of the device where it has a stream."""
        stream = args.get("stream")
        self.events.append(
            {
                "ph": "X",
                "cat": cat,
                "name": name,
                "pid": 100 + self.rank if stream is None else 0,
                "tid": HOST_THREAD if stream is None else stream,
                "ts": round(begin_us + self.offset_us, 3),
                "dur": round(dur_us, 3),
                "args": args,
            }
        )

    def launch(self, cat: str, name: str, begin_us: float, on_device: tuple[float, float]) -> None:
        """Append an operator, its launch and its kernel, which takes `(begin, duration)`."""
        self.correlation += 1
        stream = COLLECTIVE_STREAM if cat == "nccl" else DEVICE_STREAM
        operator = "c10d::allreduce_" if cat == "nccl" else f"aten::{name}"
        self.add("cpu_op", operator, begin_us, 12.0, **{"External id": self.correlation})
        self.add(
            "cuda_runtime", "cudaLaunchKernel", begin_us + 3, 5.0, correlation=self.correlation
        )
        args: dict[str, Any] = {"correlation": self.correlation, "device": 0, "stream": stream}
        if cat == "nccl":
            args |= {
                "Collective name": "allreduce",
                "In msg nelems": 1 << 20,
                "Out msg nelems": 1 << 20,
                "Group size": self.ranks,
                "dtype": "Float",
                "Process Group Name": "0",
            }
            name = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
        self.add("kernel", name, *on_device, **args)


def write_job(folder: Path, ranks: int, events: int = EVENTS) -> None:
    """Write a file for each rank of a job."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = max(round(events / EVENTS_PER_STEP), 2)
    paces = [slowest_pace(ranks, step) for step in range(steps)]
    for rank in range(ranks):
        rng = random.Random(rank)
        made = RankEvents(rank, ranks, 1_000_000.0 + (rng.uniform(-5000, 5000) if rank else 0.0))
        now_us = 0.0
        for step, slowest in enumerate(paces):
            now_us = add_step(made, step, now_us, slowest)
        info = {"backend": "nccl", "rank": rank, "world_size": ranks}
        device = {"id": 0, "name": "GPU", "totalGlobalMem": 80 << 30}
        trace = {
            "deviceProperties": [device],
            "distributedInfo": info,
            "traceEvents": made.events,
        }
        with gzip.open(folder / f"rank{rank}.json.gz", "wt", compresslevel=1) as file:
            json.dump(trace, file)


def pace_of(rank: int, step: int) -> float:
    """Return how much slower a rank computes in a step than the model says."""
    jitter = random.Random(1000 * rank + step).uniform(0.98, 1.02)
    return jitter * (SLOWER if rank == SLOW_RANK else 1.0)


def slowest_pace(ranks: int, step: int) -> float:
    """Return the pace of the slowest rank in a step."""
    return max(pace_of(rank, step) for rank in range(ranks))


def add_step(made: RankEvents, step: int, begin_us: float, slowest: float) -> float:
    """Append one step, and return its end."""
    pace = pace_of(made.rank, step)
    made.add(
        "user_annotation",
        "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__",
        begin_us,
        LOAD_US,
    )
    host_us = device_us = begin_us + LOAD_US
    since_us = device_us  # since the last collective, when all ranks were equally far
    for index in range(OPERATORS):
        device_us = max(device_us, host_us + 10)
        kernel_us = KERNEL_US * pace
        made.launch("kernel", f"operator_{index % 12}", host_us, (device_us, kernel_us))
        host_us, device_us = host_us + 16, device_us + kernel_us
        if (index + 1) % COLLECTIVE_EVERY == 0:
            all_ready_us = since_us + (device_us - since_us) * slowest / pace
            end_us = all_ready_us + 50
            made.launch("nccl", "", host_us, (device_us, end_us - device_us))
            host_us, device_us, since_us = host_us + 16, end_us, end_us
    made.add("cpu_op", "Optimizer.step#SGD.step", host_us, 40.0)
    end_us = max(device_us, host_us + 40) + 20
    made.add("cuda_runtime", "cudaDeviceSynchronize", host_us + 40, end_us - host_us - 60)
    made.add("user_annotation", f"ProfilerStep#{step}", begin_us, end_us - begin_us - 1)
    return end_us


if __name__ == "__main__":
    write_job(Path(sys.argv[1]), int(sys.argv[2]), *map(int, sys.argv[3:]))
