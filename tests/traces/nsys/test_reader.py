"""The tables that are read from exports of older and newer versions of Nsight Systems."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from tests.traces.nsys.exports import NEW, OLD, export, pid_of, tid_of

ONE, TWO = (
    {"globalPid": pid_of(70), "deviceId": 0, "streamId": 7},
    {"globalPid": pid_of(80), "deviceId": 0, "streamId": 7},
)
MAIN = {"globalTid": tid_of(70, 70)}
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096>)"


def call(start: int, end: int, name: str, correlation: int, **where: int) -> dict[str, Any]:
    return {
        "start": start,
        "end": end,
        "nameId": name,
        "correlationId": correlation,
        **(where or MAIN),
    }


def kernel(start: int, end: int, name: str, correlation: int, **more: Any) -> dict[str, Any]:
    return (
        {
            "start": start,
            "end": end,
            "demangledName": name,
            "shortName": "short",
            "correlationId": correlation,
        }
        | ONE
        | more
    )


def nvtx(start: int, end: int | None, text: str | None, **more: Any) -> dict[str, Any]:
    return {
        "start": start,
        "end": end,
        "text": text,
        "eventType": 59,
        "domainId": 0,
        **MAIN,
        **more,
    }


def frame(trace: Trace, name: str) -> pd.DataFrame:
    found = trace.table(name)
    assert found is not None, trace.why_absent(name)
    return found


def rows(trace: Trace, name: str, *columns: str) -> list[list[Any]]:
    """Return the rows of a table, with None for a missing name."""
    picked = frame(trace, name)[list(columns)].astype(object)
    return picked.where(picked.notna(), None).values.tolist()


@pytest.fixture
def old(tmp_path: Path) -> Trace:
    """Return the trace of an old export: one process, kernels without a process, and no table of
    enumerations.
    """
    where = {"deviceId": 0, "streamId": 7}
    kernels = [
        {
            "start": 1300,
            "end": 1500,
            "demangledName": "void mm<float>(float*)",
            "correlationId": 1,
            **where,
        },
        {
            "start": 1200,
            "end": 1250,
            "demangledName": "void add(float*)",
            "correlationId": 9,
            **where,
        },
    ]
    copies = [
        {
            "start": 1600,
            "end": 1700,
            "bytes": 64,
            "copyKind": 1,
            "srcKind": 0,
            "dstKind": 2,
            "correlationId": 2,
            **ONE,
        }
    ]
    return load_trace(
        export(
            tmp_path / "old.sqlite",
            OLD,
            CUPTI_ACTIVITY_KIND_RUNTIME=[
                call(1100, 1110, "cudaLaunchKernel_v7000", 1),
                call(1550, 1560, "cudaMemcpyAsync_v3020", 2),
                call(1560, 1700, "cudaStreamSynchronize_v3020", 3),
            ],
            CUPTI_ACTIVITY_KIND_KERNEL=kernels,
            CUPTI_ACTIVITY_KIND_MEMCPY=copies,
            CUPTI_ACTIVITY_KIND_MEMSET=[
                {"start": 1000, "end": 1010, "bytes": 8, "correlationId": 0, **ONE}
            ],
            ThreadNames=[{"nameId": "python", **MAIN}],
        )
    )


def test_an_export_of_an_old_version_is_read(old: Trace) -> None:
    assert rows(
        old, "launches", "process", "tid", "ts", "dur", "name", "kind", "correlation", "op"
    ) == [
        [0, 70, 100, 10, "cudaLaunchKernel", "kernel", 1, -1],
        [0, 70, 550, 10, "cudaMemcpyAsync", "copy", 2, -1],
        [0, 70, 560, 140, "cudaStreamSynchronize", "sync", 3, -1],
    ]
    assert rows(
        old,
        "kernels",
        "process",
        "device",
        "stream",
        "ts",
        "dur",
        "name",
        "kind",
        "launch",
        "graph",
    ) == [
        [0, 0, 7, 200, 50, "void add(float*)", "compute", -1, False],
        [0, 0, 7, 300, 200, "void mm<float>(float*)", "compute", 0, False],
    ]
    assert rows(old, "copies", "ts", "dur", "direction", "bytes", "pinned", "launch") == [
        [0, 10, "memset", 8, -1, -1],
        [600, 100, "h2d", 64, 0, 1],
    ]
    assert rows(old, "processes", "process", "pid", "role", "rank") == [[0, 70, "main", 0]]
    assert rows(old, "threads", "tid", "name", "main") == [[70, "python", True]]
    assert rows(old, "ranks", "rank", "world_size", "backend") == [[0, -1, None]]
    assert old.span_ns == (0, 700)


def test_every_table_has_the_declared_columns_and_dtypes(old: Trace) -> None:
    for name in TABLES:
        table = old.table(name)
        if table is None:
            assert old.why_absent(name)
            continue
        assert [(c, str(d)) for c, d in table.dtypes.items()] == [
            (c.name, c.dtype) for c in TABLES[name]
        ], name


def two_processes(path: Path, **more: Any) -> Trace:
    """Return the trace of two processes with equal device numbers and equal correlation ids."""
    second = {"globalTid": tid_of(80, 81)}
    return load_trace(
        export(
            path,
            CUPTI_ACTIVITY_KIND_RUNTIME=[
                call(10, 12, "cudaLaunchKernel_v7000", 5),
                call(11, 13, "cudaLaunchKernelExC_v11060", 5, **second),
            ],
            CUPTI_ACTIVITY_KIND_KERNEL=[
                kernel(30, 40, "k", 5, **TWO),
                kernel(20, 25, ALL_REDUCE, 5),
            ],
            PROCESSES=[
                {"globalPid": pid_of(p), "pid": p, "name": n}
                for p, n in ((70, "a"), (80, "b"), (99, "c"))
            ],
            TARGET_INFO_CUDA_DEVICE=[
                {"gpuId": 0, "cudaId": 0, "pid": 70},
                {"gpuId": 1, "cudaId": 0, "pid": 80},
            ],
            TARGET_INFO_GPU=[
                {"id": n, "name": "NVIDIA H100", "totalMemory": 80, "smCount": 132} for n in (0, 1)
            ],
            TARGET_INFO_SYSTEM_ENV=[{"name": "Hostname", "value": "node1"}],
            **more,
        )
    )


def test_each_process_has_its_device_and_its_launches(tmp_path: Path) -> None:
    trace = two_processes(tmp_path / "two.sqlite")
    assert rows(trace, "kernels", "process", "device", "name", "kind", "launch") == [
        [0, 0, ALL_REDUCE, "communication", 0],
        [1, 1, "k", "compute", 1],
    ]
    assert rows(trace, "processes", "pid", "name", "host", "rank") == [
        [70, "a", "node1", 0],
        [80, "b", "node1", 1],
    ]
    columns = ("process", "device", "name", "kind", "memory_bytes", "multiprocessors")
    assert rows(trace, "devices", *columns) == [
        [0, 0, "NVIDIA H100", "cuda", 80, 132],
        [1, 1, "NVIDIA H100", "cuda", 80, 132],
    ]
    assert rows(trace, "ranks", "process", "rank", "world_size", "backend") == [
        [0, 0, 2, "nccl"],
        [1, 1, 2, "nccl"],
    ]
    assert rows(trace, "collectives", "process", "kind", "in_bytes", "group_size", "kernel") == [
        [0, "all_reduce", -1, -1, 0]
    ]


def test_sizes_groups_and_ranks_are_read_from_the_payloads_of_nccl(tmp_path: Path) -> None:
    made = '{"NCCL communicator ID": 7, "No. of ranks": 4, "Rank": %d, "CUDA device": 0}'
    sent = '{"NCCL communicator ID": 7, "Message size [bytes]": 1024}'
    events = [
        nvtx(1, 2, "ncclCommInitRank", domainId=1, jsonText=made % 3),
        nvtx(1, 2, "ncclCommInitRank", domainId=1, jsonTextId=made % 2, globalTid=tid_of(80, 81)),
        nvtx(9, 14, "ncclAllReduce", domainId=1, jsonText=sent),
    ]
    trace = two_processes(tmp_path / "two.sqlite", NVTX_EVENTS=events)
    columns = ("kind", "in_bytes", "out_bytes", "group", "group_size")
    assert rows(trace, "collectives", *columns) == [["all_reduce", 1024, 1024, "7", 4]]
    assert rows(trace, "ranks", "process", "rank", "world_size") == [[0, 3, 4], [1, 2, 4]]


def test_operators_and_ranges_are_read_from_nvtx(tmp_path: Path) -> None:
    events = [
        {"start": 0, "eventType": 75, "text": "NCCL", "domainId": 1, **MAIN},
        nvtx(100, 900, "train"),
        nvtx(110, 800, "aten::linear, op_id = 4, sizes = [[8, 4], [2, 4]]"),
        nvtx(
            120,
            700,
            "aten::mm, seq = 12, op_id = 5, sizes = [[8, 4], [4, 2]], input_op_ids = [[3,0]]",
        ),
        nvtx(130, 600, "nccl:all_to_all, op_id = 6"),
        nvtx(140, 500, None, textId="ncclSend", domainId=1),
        nvtx(905, None, "mark", eventType=34),
        nvtx(910, 930, "Optimizer.step#AdamW.step, op_id = 9"),
        nvtx(931, 933, "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__, op_id = 10"),
        nvtx(940, 950, "across threads", eventType=60),
        nvtx(960, None, "open"),
        nvtx(961, 962, "a thread's name", eventType=39),
    ]
    trace = load_trace(
        export(
            tmp_path / "nvtx.sqlite",
            NVTX_EVENTS=events,
            CUPTI_ACTIVITY_KIND_RUNTIME=[
                call(150, 160, "cudaLaunchKernel", 1),
                call(750, 760, "cudaFree", 2),
            ],
            CUPTI_ACTIVITY_KIND_KERNEL=[kernel(500, 1000, "ncclDevKernel_SendRecv", 1)],
        )
    )
    assert rows(trace, "ops", "ts", "dur", "name", "parent", "sequence", "shapes") == [
        [10, 690, "aten::linear", -1, -1, "[[8, 4], [2, 4]]"],
        [20, 580, "aten::mm", 0, 12, "[[8, 4], [4, 2]]"],
        [30, 470, "nccl:all_to_all", 1, -1, None],
    ]
    assert rows(trace, "ranges", "ts", "dur", "category", "name") == [
        [0, 800, "nvtx", "train"],
        [40, 360, "nvtx", "NCCL:ncclSend"],
        [805, 0, "nvtx", "mark"],
        [810, 20, "annotation", "Optimizer.step#AdamW.step"],
        [831, 2, "annotation", "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__"],
        [840, 10, "nvtx", "across threads"],
        [860, 40, "nvtx", "open"],
    ]
    assert rows(trace, "launches", "name", "kind", "op") == [
        ["cudaLaunchKernel", "kernel", 2],
        ["cudaFree", "memory", 0],
    ]
    assert rows(trace, "collectives", "kind") == [["all_to_all"]]
    assert rows(trace, "loader", "ts", "dur", "kind", "workers") == [[831, 2, "next", -1]]
    assert trace.manifest.dropped == [
        "1 NVTX ranges were open when the recording ended and are cut off there"
    ]


def test_kernels_of_graphs_are_read_by_node_and_by_graph(tmp_path: Path) -> None:
    trace = load_trace(
        export(
            tmp_path / "graphs.sqlite",
            CUPTI_ACTIVITY_KIND_RUNTIME=[
                call(1, 2, "cudaGraphLaunch_v10000", 1),
                call(3, 4, "cudaGraphLaunch_v10000", 2),
            ],
            CUPTI_ACTIVITY_KIND_KERNEL=[
                kernel(5, 6, "node", 1, graphNodeId=77),
                kernel(6, 7, "node without id", 1),
            ],
            CUPTI_ACTIVITY_KIND_GRAPH_TRACE=[
                {"start": 10, "end": 30, "graphId": 12, "correlationId": 2, **ONE}
            ],
        )
    )
    assert rows(trace, "kernels", "name", "dur", "launch", "graph") == [
        ["node", 1, 0, True],
        ["node without id", 1, 0, True],
        ["graph 12", 20, 1, True],
    ]
    assert trace.manifest.sources[0].status == "partial"
    assert "--cuda-graph-trace=node" in trace.manifest.dropped[0]


def test_numbers_have_the_meaning_of_the_enumerations_in_the_export(tmp_path: Path) -> None:
    copies = [
        {
            "start": at,
            "end": at + 1,
            "bytes": at,
            "copyKind": kind,
            "srcKind": source,
            "dstKind": target,
            **ONE,
        }
        for at, kind, source, target in (
            (1, 31, 41, 42),
            (2, 32, 42, 40),
            (3, 33, 42, 42),
            (4, 34, 42, 42),
            (5, 99, 1, 1),
        )
    ]
    trace = load_trace(
        export(
            tmp_path / "enums.sqlite",
            CUPTI_ACTIVITY_KIND_MEMCPY=copies,
            ENUM_CUDA_MEMCPY_OPER=labels(
                {
                    31: "Host-to-Device",
                    32: "Device-to-Host",
                    33: "Peer-to-Peer",
                    34: "Array-to-Device",
                }
            ),
            ENUM_CUDA_MEM_KIND=labels({40: "Pageable", 41: "Pinned", 42: "Device"}),
        )
    )
    assert rows(trace, "copies", "direction", "pinned") == [
        ["h2d", 1],
        ["d2h", 0],
        ["p2p", -1],
        ["d2d", -1],
        [None, -1],
    ]


def test_unknown_numbers_of_memory_kinds_are_ignored(tmp_path: Path) -> None:
    """CUPTI counts pageable, pinned, device as 1, 2, 3; taken for Nsight's they would call pageable
    memory pinned.
    """
    copy = {"start": 1, "end": 2, "bytes": 4, "copyKind": 1, "srcKind": 1, "dstKind": 3 + 4, **ONE}
    trace = load_trace(export(tmp_path / "cupti.sqlite", OLD, CUPTI_ACTIVITY_KIND_MEMCPY=[copy]))
    assert rows(trace, "copies", "pinned") == [[-1]]


def labels(meaning: dict[int, str]) -> list[dict[str, Any]]:
    return [{"id": key, "label": text, "name": text.upper()} for key, text in meaning.items()]


def test_reserved_memory_is_known_where_its_beginning_is_recorded(tmp_path: Path) -> None:
    events = [(10, 512, 2, 0), (20, 256, 2, 0), (25, 99, 1, 0), (30, 512, 2, 1)]
    path = tmp_path / "memory.sqlite"
    columns = ("start", "bytes", "memKind", "memoryOperationType")
    whole = [
        dict(zip(columns, event, strict=True)) | {"globalPid": pid_of(70), "deviceId": 0}
        for event in events
    ]
    trace = load_trace(export(path, CUDA_GPU_MEMORY_USAGE_EVENTS=whole))
    in_table = ("ts", "bytes", "allocated_bytes", "reserved_bytes")
    assert rows(trace, "memory", *in_table) == [
        [0, 512, -1, 512],
        [10, 256, -1, 768],
        [20, -512, -1, 256],
    ]
    trace = load_trace(export(tmp_path / "part.sqlite", CUDA_GPU_MEMORY_USAGE_EVENTS=whole[1:]))
    assert rows(trace, "memory", *in_table) == [[0, 256, -1, -1], [10, -512, -1, -1]]


def test_system_calls_and_overhead_are_ranges(tmp_path: Path) -> None:
    overheads = [
        {"start": 5, "end": 9, "overheadType": kind, "nameId": "flush", **MAIN}
        for kind in (3, 8, 1)
    ]
    trace = load_trace(
        export(
            tmp_path / "os.sqlite",
            OSRT_API=[{"start": 1, "end": 4, "nameId": "poll", **MAIN}],
            CUPTI_ACTIVITY_KIND_OVERHEAD=overheads,
        )
    )
    assert rows(trace, "ranges", "ts", "dur", "category", "name") == [
        [0, 3, "os", "poll"],
        [4, 4, "overhead", "Buffer flush (Profiler)"],
        [4, 4, "driver", "Command buffer full (CUDA)"],
        [4, 4, "overhead", "flush"],
    ]


def test_the_time_the_command_and_the_rank_of_an_export_are_read(tmp_path: Path) -> None:
    trace = load_trace(
        export(
            tmp_path / "capture_rank5.sqlite",
            CUPTI_ACTIVITY_KIND_KERNEL=[kernel(1500, 1600, "k", 1)],
            TARGET_INFO_SESSION_START_TIME=[
                {"utcEpochNs": 1_700_000_000_000_000_000, "systemClockNs": 1000}
            ],
            META_DATA_CAPTURE=[
                {"name": "PROCESS_0:COMMAND", "value": "python"},
                {"name": "PROCESS_0:ARGUMENT_0", "value": "--token=secret"},
                {"name": "PROCESS_0:ENVIRONMENT_VARIABLE", "value": 'WORLD_SIZE="16"'},
            ],
        )
    )
    assert trace.manifest.zero_realtime_ns == 1_700_000_000_000_000_500
    assert trace.manifest.command == ["python"]
    assert rows(trace, "ranks", "rank", "world_size") == [[5, 16]]


def test_tables_and_columns_of_newer_versions_are_ignored(tmp_path: Path) -> None:
    schema = {
        **NEW,
        "CUPTI_ACTIVITY_KIND_KERNEL": NEW["CUPTI_ACTIVITY_KIND_KERNEL"] + " tomorrow:TEXT",
        "TOMORROW": "start end",
    }
    path = export(
        tmp_path / "new.sqlite",
        schema,
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(1, 2, "k", 1, tomorrow="x")],
        TOMORROW=[{"start": 1, "end": 5}],
    )
    assert rows(load_trace(path), "kernels", "name", "dur") == [["k", 1]]
