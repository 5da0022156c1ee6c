"""Small inputs of every format, made by our own writers and the builders of the tests: where the
fuzzers start from.
"""

import array
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec

from perfscope.traces.device_facts import DeviceFacts, PortFacts
from perfscope.traces.run_folder import events
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest, SourceStatus, TorchFacts
from tests.build import FACTS
from tests.traces.kineto.events import ODD_PIECES, event, kernel, launch
from tests.traces.nsys.exports import NEW, OLD, export, pid_of, tid_of

MS = 1_000_000
ZERO_NS = 1_000_000_000_000
REAL_NS = 1_700_000_000_000_000_000
MEMORY = {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 12, "s": "t"}
TALK = {"Collective name": "allreduce", "dtype": "Float", "In msg nelems": 64, "Out msg nelems": 64}
GROUP = {"Process Group Name": "0", "Process Group Ranks": "[0, 1]", "Group size": 2}
SHAPES = {
    "Input Dims": [[8, 16], [16, 4], []],
    "Input type": ["float", "float", ""],
    "Input Strides": [[16, 1], [4, 1], []],
}


def kineto_events() -> list[dict[str, Any]]:
    """Events of every group."""
    shapes = {**SHAPES, "Concrete Inputs": ["", "", "1"], "Sequence number": 3, "Fwd thread id": 0}
    steps = [
        event(f"ProfilerStep#{at}", cat="user_annotation", ts=1000 * at, dur=990)
        for at in range(1, 5)
    ]
    work = []
    for at in range(1, 5):
        base = 1000 * at
        work += [
            event("aten::mm", ts=base + 5.125, dur=40.5, args=shapes),
            launch(ts=base + 10, dur=3),
            kernel(
                ts=base + 60,
                dur=200,
                args={"correlation": 3, "grid": [8, 1, 1], "block": [128, 1, 1]},
            ),
            event(
                "Memcpy HtoD (Pageable -> Device)",
                cat="gpu_memcpy",
                ts=base + 300,
                dur=50,
                args={"bytes": 4096, "device": 0},
            ),
            {
                **kernel(ts=base + 400, dur=100, args={**TALK, **GROUP}),
                "name": "ncclDevKernel_AllReduce",
            },
            event(
                "enumerate(DataLoader)#_Single.__next__",
                cat="user_annotation",
                ts=base + 700,
                dur=200,
            ),
        ]
    for row in work:
        row.setdefault("args", {})
    return [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "python"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "thread 1"}},
        *steps,
        *work,
        {
            **MEMORY,
            "args": {
                "Bytes": 512,
                "Total Allocated": 1024,
                "Total Reserved": 4096,
                "Device Type": 1,
                "Device Id": 0,
            },
        },
        event("train.py(3): main", cat="python_function", ts=900, dur=4000),
        {"ph": "s", "id": 3, "pid": 1, "tid": 1, "ts": 1010, "cat": "ac2g", "name": "ac2g"},
    ]


def kineto_trace() -> dict[str, Any]:
    """A whole trace."""
    device = {"id": 0, "name": "NVIDIA A100", "totalGlobalMem": 85_000_000_000, "numSms": 108}
    return {
        "schemaVersion": 1,
        "deviceProperties": [device],
        "distributedInfo": {"backend": "nccl", "rank": 0, "world_size": 2},
        "baseTimeNanoseconds": REAL_NS,
        "traceEvents": kineto_events(),
        "traceName": "trace.json",
    }


def pieces() -> list[bytes]:
    """Pieces of an event array, whole or odd."""
    whole = kineto_events()
    texts = [json.dumps(whole[at : at + 4])[1:-1] for at in range(0, len(whole), 2)]
    tails = [f'{text}], "traceName": "x"}}' for text in texts[:3]]
    return [
        text.encode("utf-8", "surrogatepass")
        for text in (*texts, *tails, *(piece for piece in ODD_PIECES if len(piece) < 1000))
    ]


def manifest() -> Manifest:
    """A manifest with a device and a port."""
    facts = {**FACTS, "zero_monotonic_ns": ZERO_NS, "zero_realtime_ns": REAL_NS, "depth": "kernels"}
    made = msgspec.convert(facts, Manifest)
    made.torch = TorchFacts("2.13.0", 4, 1, True)
    made.devices = [
        DeviceFacts(
            device=0,
            name="NVIDIA A100",
            kind="cuda",
            memory_bytes=85_000_000_000,
            multiprocessors=108,
        )
    ]
    made.ports = [PortFacts("eth0", "ethernet")]
    made.sources = [
        SourceStatus("probe", "ok"),
        SourceStatus("thread_states", "off", "not asked for"),
    ]
    return made


def probe_rows() -> list[list[int]]:
    """Records of five steps of a training loop."""
    rows = []
    for at in range(5):
        base = ZERO_NS + at * 100 * MS
        rows += [
            [events.NEXT, 7, base, 20 * MS, 4, 3, 2, 1, 0, 11, 12, -1],
            [events.FORWARD, 7, base + 21 * MS, 30 * MS, 9, 1, 1, -1, -1, -1, -1, -1],
            [events.BACKWARD, 7, base + 52 * MS, 30 * MS, *[-1] * 8],
            [events.OPTIMIZER, 7, base + 84 * MS, 10 * MS, 8, *[-1] * 7],
            [events.SYNC, 7, base + 95 * MS, MS, 6, 4, *[-1] * 6],
            [events.COPY, 7, base + 20 * MS, MS, 256, 1, 1, 0, -1, -1, -1, -1],
            [events.NVTX, 7, base + 30 * MS, MS, 5, -1, -1, 3, 7, 1, 0, -1],
        ]
    rows.append([events.GC, 7, ZERO_NS + 85 * MS, 5 * MS, 2, 77, *[-1] * 6])
    rows.append([events.CHECKPOINT, 7, ZERO_NS + 450 * MS, 5 * MS, 4096, 8, *[-1] * 6])
    return rows


def run_folder(path: Path) -> Path:
    """A run folder with every stream that is read, and one window."""
    run = RunWriter.create(path, manifest())
    run.arrow("probe.records", 0, events.COLUMNS).append(
        array.array("q", [cell for row in probe_rows() for cell in row])
    )
    run.flush()
    fetch = [events.FETCH, 8, ZERO_NS, 15 * MS, 0, 70, 30, 60, 20, 4096, 0, 16]
    run.arrow("probe.records", 1, events.COLUMNS).append(array.array("q", fetch))
    nvtx = [events.NVTX, 7, ZERO_NS + MS, MS, 1, -1, -1, -1, -1, 0, 0, -1]
    run.arrow("nvtx.records", 0, events.COLUMNS).append(array.array("q", nvtx))
    for code, name in ((9, "Net"), (8, "SGD"), (6, "aten::item"), (5, "mine")):
        run.jsonl("probe.names", 0).append(
            {"code": code, "kind": "module", "name": name, "prefetch_factor": 2}
        )
    run.jsonl("nvtx.names", 0).append({"code": 1, "name": "step"})
    process = {
        "host": "host",
        "boot_id": "boot",
        "start_ticks": 1,
        "parent": -1,
        "local_rank": 0,
        "worker": -1,
        "name": "train.py",
    }
    for code, role in ((0, "main"), (1, "loader")):
        row = {
            **process,
            "process": code,
            "pid": 100 + code,
            "ns_pid": 100 + code,
            "role": role,
            "rank": 0,
        }
        run.jsonl("processes", -1).append(row)
    for code in (-1, 0, 1):
        for at in range(3):
            run.jsonl("clock", code).append(
                {"mono": ZERO_NS + at * 100 * MS, "real": REAL_NS + at * 100 * MS}
            )
    for at in range(5):
        ts = ZERO_NS + at * 100 * MS
        run.jsonl("probe.stacks", 0).append(
            {"ts": ts, "tid": 7, "weight_ns": MS, "stack": "main (a.py:1);f (a.py:2)"}
        )
        run.jsonl("host.states", 0).append({"ts": ts, "tid": 7, "state": "gil"})
        run.jsonl("host.counters", 0).append(
            {"ts": ts, "tid": -1, "cpu_ns": at * MS, "rss_bytes": 6 << 20, "read_bytes": at}
        )
        run.jsonl("host.counters", -1).append(
            {"ts": ts, "cpu_ns": at * MS, "memory_bytes": 1 << 30}
        )
        numbers = {
            "power_w": 200.5,
            "sm_clock_mhz": 1400,
            "kernel_time_share": 0.5,
            "memory_used_bytes": 1 << 30,
        }
        run.jsonl("device.counters", -1).append({"ts": ts, "device": 0, **numbers})
        run.jsonl("network.counters", -1).append(
            {"ts": ts, "port": "eth0", "rx_bytes": at * 1000, "tx_bytes": at * 1000}
        )
    holder = {"device": 0, "process": 0, "pid": 100, "name": "python", "user": "me", "ts": ZERO_NS}
    run.jsonl("device.processes", -1).append(
        {**holder, "memory_bytes": 1 << 30, "sm_share": None, "cpu_node": 0}
    )
    run.jsonl("device.gaps", -1).append({"device": 0, "ts": ZERO_NS, "dur": MS, "reason": "lost"})
    times = {
        "mono": ZERO_NS,
        "real": REAL_NS,
        "first": ZERO_NS,
        "begin": ZERO_NS,
        "end": ZERO_NS + MS,
        "last": ZERO_NS + 2 * MS,
    }
    run.jsonl("kernels", 0).append({"name": "rank0.json.gz", **times, "steps": 4, "stall": MS})
    run.close()
    (path / "kineto").mkdir()
    (path / "kineto" / "rank0.json.gz").write_bytes(
        gzip.compress(json.dumps(kineto_trace()).encode(), 1, mtime=0)
    )
    return path


def nsys_export(path: Path, new: bool) -> Path:
    """An export with events of every kind."""
    thread, process = tid_of(7, 7), pid_of(7)
    device = {
        "deviceId": 0,
        "contextId": 1,
        "streamId": 7,
        **({"globalPid": process} if new else {}),
    }
    tables: dict[str, list[dict[str, Any]]] = {
        "CUPTI_ACTIVITY_KIND_KERNEL": [
            {
                "start": 1000 * at,
                "end": 1000 * at + 500,
                "correlationId": at,
                "shortName": name,
                "gridX": 8,
                "blockX": 128,
                **device,
            }
            for at, name in enumerate(("gemm", "ncclDevKernel_AllReduce", "gemm", "relu"), 1)
        ],
        "CUPTI_ACTIVITY_KIND_RUNTIME": [
            {
                "start": 1000 * at - 200,
                "end": 1000 * at - 100,
                "globalTid": thread,
                "correlationId": at,
                "nameId": "cudaLaunchKernel",
            }
            for at in range(1, 5)
        ],
        "CUPTI_ACTIVITY_KIND_MEMCPY": [
            {
                "start": 200,
                "end": 300,
                "correlationId": 9,
                "bytes": 4096,
                "copyKind": 1,
                "srcKind": 0,
                "dstKind": 2,
                **device,
            }
        ],
        "NVTX_EVENTS": [
            {
                "start": 900,
                "end": 1900,
                "eventType": 59,
                "text": "aten::mm, seq = 1, op_id = 2, sizes = [[8, 8], [8, 8]]",
                "globalTid": thread,
            },
            {"start": 800, "end": 5000, "eventType": 59, "text": "step", "globalTid": thread},
            {"start": 850, "eventType": 34, "text": "mark", "globalTid": thread},
        ],
        "OSRT_API": [{"start": 100, "end": 150, "globalTid": thread, "nameId": "read"}],
        "TARGET_INFO_GPU": [
            {"id": 0, "name": "NVIDIA A100", "totalMemory": 85_000_000_000, "smCount": 108}
        ],
        "ThreadNames": [{"nameId": "python", "priority": 0, "globalTid": thread}],
    }
    if new:
        tables |= {
            "PROCESSES": [{"globalPid": process, "pid": 7, "name": "python"}],
            "TARGET_INFO_CUDA_DEVICE": [{"gpuId": 0, "cudaId": 0, "pid": 7, "uuid": "u"}],
            "TARGET_INFO_SYSTEM_ENV": [{"globalVid": 0, "name": "Hostname", "value": "here"}],
            "TARGET_INFO_SESSION_START_TIME": [{"utcEpochNs": REAL_NS, "systemClockNs": 0}],
            "META_DATA_CAPTURE": [{"name": "X:ENVIRONMENT_VARIABLE", "value": "RANK=1"}],
            "CUDA_GPU_MEMORY_USAGE_EVENTS": [
                {
                    "start": 500,
                    "bytes": 512,
                    "memKind": 2,
                    "memoryOperationType": 0,
                    "globalPid": process,
                    "deviceId": 0,
                }
            ],
            "CUPTI_ACTIVITY_KIND_OVERHEAD": [
                {"start": 1, "end": 2, "globalTid": thread, "nameId": "buffer", "overheadType": 1}
            ],
        }
    return export(path, NEW if new else OLD, **tables)
