"""The recorder of small.json: two steps of a small training on the CPU, with events of a GPU that
are written by hand.

`python -m tests.traces.kineto.golden.record` records it again, `... .golden.tables` renews its
tables. The tables can be renewed without another recording.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

SMALL = Path(__file__).with_name("small.json")
NAMED = ("schemaVersion", "displayTimeUnit", "baseTimeNanoseconds", "record_shapes")


def recorded() -> dict[str, Any]:
    import torch
    from torch.profiler import ProfilerActivity, profile, schedule

    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        tempfile.NamedTemporaryFile(suffix=".json") as file,
        profile(
            activities=[ProfilerActivity.CPU],
            record_shapes=True,
            schedule=schedule(wait=0, warmup=1, active=2),
            on_trace_ready=lambda done: done.export_chrome_trace(file.name),
        ) as profiler,
    ):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(3, 4)).sum().backward()
            optimizer.step()
            profiler.step()
        found: dict[str, Any] = json.loads(Path(file.name).read_text())
    return found


def on_the_device(pid: int, tid: int, first_us: float) -> list[dict[str, Any]]:
    """Return launches and the work they start: a kernel, a copy, a collective with its metadata, a
    graph of two kernels, and an allocation.
    """
    nccl = {
        "Collective name": "allreduce",
        "In msg nelems": 256,
        "Out msg nelems": 256,
        "dtype": "Float",
        "Group size": 2,
        "Process Group Name": "0",
        "Process Group Ranks": "[0, 1]",
    }
    calls = [
        ("cudaLaunchKernel", 1),
        ("cudaMemcpyAsync", 2),
        ("cudaLaunchKernel", 3),
        ("cudaGraphLaunch", 4),
    ]
    device: list[tuple[str, str, int, dict[str, Any]]] = [
        ("kernel", "void gemm<float>(int)", 1, {}),
        ("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 2, {"bytes": 4096}),
        ("kernel", "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgs)", 3, nccl),
        ("kernel", "triton_poi_fused_add_0", 4, {}),
        ("kernel", "triton_poi_fused_mul_1", 4, {}),
    ]
    events: list[dict[str, Any]] = []
    for at, (name, correlation) in enumerate(calls):
        events.append(
            {
                "ph": "X",
                "cat": "cuda_runtime",
                "name": name,
                "pid": pid,
                "tid": tid,
                "ts": first_us + 2 * at,
                "dur": 1.001,
                "args": {"External id": at, "cbid": 211, "correlation": correlation},
            }
        )
    for at, (category, name, correlation, more) in enumerate(device):
        args = {"device": 0, "context": 1, "stream": 7, "correlation": correlation, **more}
        events.append(
            {
                "ph": "X",
                "cat": category,
                "name": name,
                "pid": 0,
                "tid": 7,
                "ts": first_us + 10 + 3 * at,
                "dur": 2.5,
                "args": args,
            }
        )
    memory = {
        "Device Type": 1,
        "Device Id": 0,
        "Bytes": 512,
        "Total Allocated": 1024,
        "Total Reserved": 2048,
    }
    return [
        *events,
        {"ph": "i", "name": "[memory]", "pid": pid, "tid": tid, "ts": first_us, "args": memory},
    ]


def main() -> None:
    whole = recorded()
    events = [
        event
        for event in whole["traceEvents"]
        if event.get("ph") in ("X", "M", "s", "f") and "perfscope" not in str(event)
    ]
    op = next(event for event in events if event.get("cat") == "cpu_op")
    events += on_the_device(op["pid"], op["tid"], op["ts"])
    around = {name: whole[name] for name in NAMED if name in whole}
    around |= {"distributedInfo": {"backend": "nccl", "rank": 1, "world_size": 2}}
    around |= {
        "deviceProperties": [
            {"id": 0, "name": "NVIDIA A100", "totalGlobalMem": 42949672960, "numSms": 108}
        ]
    }
    SMALL.write_text(
        json.dumps({**around, "traceEvents": events}, indent=None, separators=(",", ":")) + "\n"
    )


if __name__ == "__main__":
    main()
