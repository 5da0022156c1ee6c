"""Recordings in the format of the PyTorch profiler, written event by event.

A `ProcessRecording` has a clock of the host and the end of the last work of each stream. Its
methods add what a call on the host leaves in a recording: an operator, the launch of a kernel, a
copy, a synchronization. `train` adds whole steps: a batch from the loader, forward and backward
pass, an all-reduce if there are several ranks, the optimizer, and the loss read on the host.
With the default values the device computes for 90 % of a step.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]
START_US = 4_724_756_765_000.0
BASE_TIME_NS = 1_790_857_026_000_000_000
LAUNCH_US, LAUNCH_LATENCY_US, KERNEL_GAP_US = 7.0, 4.0, 1.5
GRAPH_LAUNCH_US = 90.0
OPERATOR_US = 42.0
ROWS, WIDTH = 8192, 4096
GRADIENT_ELEMENTS = 2 * WIDTH * WIDTH
COPY_STREAM, COMPUTE_STREAM, COMMUNICATION_STREAM = 7, 7, 28


@dataclass(frozen=True)
class Gpu:
    """A model of GPU, and the names that its kernels and calls have in a recording."""

    properties: Event
    runtime: str
    """The category of the calls."""
    launch: str
    launch_graph: str
    copy: str
    synchronize: str
    matmul: str
    elementwise: str
    optimizer: str
    collective: str


H100 = Gpu(
    properties={
        "name": "NVIDIA H100 80GB HBM3",
        "totalGlobalMem": 84_939_243_520,
        "computeMajor": 9,
        "computeMinor": 0,
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiprocessor": 2048,
        "regsPerBlock": 65_536,
        "regsPerMultiprocessor": 65_536,
        "warpSize": 32,
        "sharedMemPerBlock": 49_152,
        "sharedMemPerMultiprocessor": 233_472,
        "numSms": 132,
        "sharedMemPerBlockOptin": 232_448,
    },
    runtime="cuda_runtime",
    launch="cudaLaunchKernel",
    launch_graph="cudaGraphLaunch",
    copy="cudaMemcpyAsync",
    synchronize="cudaStreamSynchronize",
    matmul="nvjet_tst_128x256_64x4_2x1_v_bz_coopA_NTT",
    elementwise="void at::native::vectorized_elementwise_kernel<8, at::native::GeluCUDAKernelImpl>",
    optimizer="void at::native::multi_tensor_apply_kernel<at::native::FusedAdamMathFunctor>",
    collective="ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
)
MI300X = Gpu(
    properties={
        "name": "AMD Instinct MI300X",
        "totalGlobalMem": 206_141_652_992,
        "computeMajor": 9,
        "computeMinor": 4,
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiprocessor": 2048,
        "regsPerBlock": 65_536,
        "warpSize": 64,
        "sharedMemPerBlock": 65_536,
        "numSms": 304,
    },
    runtime="cuda_runtime",
    launch="hipLaunchKernel",
    launch_graph="hipGraphLaunch",
    copy="hipMemcpyWithStream",
    synchronize="hipStreamSynchronize",
    matmul="Cijk_Alik_Bljk_BBS_BH_Bias_HAS_SAV_UserArgs_MT256x256x64_MI16x16x1_SN_LDSB1.kd",
    elementwise="void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl>",
    optimizer="void at::native::multi_tensor_apply_kernel<at::native::FusedAdamMathFunctor>",
    collective="ncclDevKernel_Generic_4(ncclDevKernelArgsStorage<4096ul>)",
)
B580 = Gpu(
    properties={
        "name": "Intel(R) Arc(TM) B580 Graphics",
        "totalGlobalMem": 12_168_933_376,
        "maxThreadsPerBlock": 1024,
        "numSms": 160,
    },
    runtime="xpu_runtime",
    launch="urEnqueueKernelLaunchWithArgsExp",
    launch_graph="urEnqueueCommandBufferExp",
    copy="urEnqueueUSMMemcpy",
    synchronize="urQueueFinish",
    matmul="gemm_kernel",
    elementwise="at::native::xpu::VectorizedElementwiseKernel<8, at::native::xpu::GeluErfFunctor>",
    optimizer="at::native::xpu::MultiTensorApplyKernelFunctor<FusedAdamMathFunctor>",
    collective="oneccl_allreduce_large",
)


@dataclass(frozen=True)
class Workload:
    """The steps of a training loop; times are microseconds."""

    layers: int = 4
    matmul_us: float = 480.0
    elementwise_us: float = 60.0
    optimizer_us: float = 400.0
    loader_us: float = 150.0
    between_steps_us: float = 180.0
    """Python at the end of a step, while the device is idle."""
    all_reduce_us: float = 0.0
    all_reduce_elements: int = GRADIENT_ELEMENTS
    annotated: bool = True
    """Whether the profiler's `step()` was called."""


TRAINING = Workload()


@dataclass
class ProcessRecording:
    """The events of one process, and its clocks in microseconds."""

    gpu: Gpu = H100
    pid: int = 4021
    rank: int | None = None
    ranks: int = 1
    device: int = 0
    host_us: float = START_US
    events: list[Event] = field(default_factory=list)
    stream_end_us: dict[tuple[int, int], float] = field(default_factory=dict)
    """The end of the last work, by device and stream."""
    joined_us: float = 0.0
    """All later work waits until then."""
    correlation: int = 1000

    def __post_init__(self) -> None:
        self.add_name("process_name", self.pid, {"name": "python"})
        self.add_name("process_labels", self.pid, {"labels": "CPU"})
        self.add_name("process_labels", self.device, {"labels": f"GPU {self.device}"})

    def add_name(self, kind: str, pid: int, args: Event) -> None:
        """Add the name of a process or thread."""
        self.events.append(
            {"ph": "M", "name": kind, "ts": START_US, "pid": pid, "tid": 0, "args": args}
        )

    def add_host(
        self, category: str, name: str, start_us: float, end_us: float, **args: Any
    ) -> Event:
        """Add an event of the host's main thread, and return it."""
        event = {
            "ph": "X",
            "cat": category,
            "name": name,
            "pid": self.pid,
            "tid": self.pid,
            "ts": round(start_us, 3),
            "dur": round(end_us - start_us, 3),
            "args": {"External id": self.correlation, **args},
        }
        self.events.append(event)
        return event

    def add_operator(self, name: str, shapes: list[list[int]]) -> None:
        """Add an operator that starts now. The host's clock does not advance."""
        self.add_host(
            "cpu_op",
            name,
            self.host_us,
            self.host_us + OPERATOR_US - 2,
            **{"Input Dims": shapes, "Input type": ["c10::BFloat16"] * len(shapes)},
        )

    def add_device(
        self,
        category: str,
        name: str,
        device_us: float,
        *,
        stream: int = COMPUTE_STREAM,
        after_us: float = 0.0,
        **args: Any,
    ) -> Event:
        """Add work of the device that the last call started, and return its event."""
        earlier_us = max(self.end_of_stream(stream), self.joined_us, after_us)
        start = max(earlier_us + KERNEL_GAP_US, self.host_us + LAUNCH_LATENCY_US)
        self.stream_end_us[self.device, stream] = start + device_us
        event = {
            "ph": "X",
            "cat": category,
            "name": name,
            "pid": self.device,
            "tid": stream,
            "ts": round(start, 3),
            "dur": round(device_us, 3),
            "args": {
                "External id": self.correlation,
                "device": self.device,
                "context": 1,
                "stream": stream,
                "correlation": self.correlation,
                **args,
            },
        }
        flow = {"id": self.correlation, "cat": "ac2g", "name": "ac2g"}
        self.events += [
            event,
            {"ph": "s", "pid": self.pid, "tid": self.pid, "ts": round(self.host_us, 3), **flow},
            {"ph": "f", "pid": self.device, "tid": stream, "ts": event["ts"], "bp": "e", **flow},
        ]
        return event

    def end_of_stream(self, stream: int) -> float:
        """Return when the last work of a stream of the current device ends."""
        return self.stream_end_us.get((self.device, stream), 0.0)

    def join_streams(self) -> None:
        """Make all later work of the devices wait for all earlier work."""
        self.joined_us = max(self.stream_end_us.values())

    def call_runtime(self, name: str, call_us: float = LAUNCH_US) -> None:
        """Add a call of the device's runtime; the host's clock advances to its end."""
        self.correlation += 1
        start = self.host_us
        self.host_us += call_us
        args = {"cbid": 211, "correlation": self.correlation}
        self.add_host(self.gpu.runtime, name, start, self.host_us, **args)

    def launch(
        self,
        operator: str,
        kernel: str,
        device_us: float,
        shapes: list[list[int]] | None = None,
        **args: Any,
    ) -> Event:
        """Add an operator that launches a kernel; return the event of the kernel."""
        start = self.host_us
        self.add_operator(operator, shapes or [[ROWS, WIDTH]])
        self.host_us += 20.0
        self.call_runtime(self.gpu.launch)
        blocks = 2 * int(self.gpu.properties["numSms"])
        launched = {
            "registers per thread": 168,
            "grid": [blocks, 1, 1],
            "block": [384, 1, 1],
            **args,
        }
        event = self.add_device("kernel", kernel, device_us, **launched)
        self.host_us = start + OPERATOR_US
        return event

    def replay_graph(self, kernels: Iterable[tuple[str, float]]) -> list[Event]:
        """Add one call that runs a graph of kernels (name, microseconds); return their events."""
        self.call_runtime(self.gpu.launch_graph, GRAPH_LAUNCH_US)
        return [
            self.add_device("kernel", name, device_us, **{"graph id": 5, "graph node id": node})
            for node, (name, device_us) in enumerate(kernels)
        ]

    def copy_to_device(self, copied_bytes: int, device_us: float) -> Event:
        """Add an asynchronous copy from pinned memory; return its event."""
        start = self.host_us
        self.add_operator("aten::copy_", [[ROWS, WIDTH]])
        self.host_us += 15.0
        self.call_runtime(self.gpu.copy)
        event = self.add_device(
            "gpu_memcpy",
            "Memcpy HtoD (Pinned -> Device)",
            device_us,
            stream=COPY_STREAM,
            **{
                "bytes": copied_bytes,
                "memory bandwidth (GB/s)": round(copied_bytes / device_us / 1e3, 3),
            },
        )
        self.host_us = start + OPERATOR_US
        return event

    def synchronize(self) -> None:
        """Add a call that waits until all streams are done."""
        end = max([self.host_us + 2.0, *self.stream_end_us.values()])
        self.call_runtime(self.gpu.synchronize, end + 3.0 - self.host_us)

    def all_reduce(self, device_us: float, elements: int = GRADIENT_ELEMENTS) -> Event:
        """Add an all-reduce on a stream of its own; return the event of its kernel."""
        facts = {
            "Collective name": "allreduce",
            "In msg nelems": elements,
            "Out msg nelems": elements,
            "Group size": self.ranks,
            "dtype": "BFloat16",
            "Process Group Name": "0",
            "Process Group Description": "default_pg",
            "Process Group Ranks": str(list(range(self.ranks))),
        }
        start = self.host_us
        for operator in ("c10d::allreduce_", "record_param_comms"):
            self.add_host("cpu_op", operator, start, start + OPERATOR_US - 2, **facts)
        self.host_us += 20.0
        self.call_runtime(self.gpu.launch)
        event = self.add_device(
            "kernel",
            self.gpu.collective,
            device_us,
            stream=COMMUNICATION_STREAM,
            after_us=self.end_of_stream(COMPUTE_STREAM),
            **facts,
        )
        self.host_us = start + OPERATOR_US
        return event

    def train(self, steps: Iterable[int], workload: Workload = TRAINING) -> None:
        """Add the steps of a training loop with these numbers."""
        for number in steps:
            start = self.host_us
            self.load_batch(workload.loader_us)
            self.forward(workload)
            self.backward(workload)
            if workload.all_reduce_us:
                self.all_reduce(workload.all_reduce_us, workload.all_reduce_elements)
                self.join_streams()
            self.step_optimizer(workload.optimizer_us)
            self.read_loss()
            self.host_us += workload.between_steps_us
            if workload.annotated:
                name = f"ProfilerStep#{number}"
                self.add_host("user_annotation", name, start, self.host_us - 1)

    def load_batch(self, wait_us: float) -> None:
        """Add the wait for a batch, and its copy to the device."""
        name = "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__"
        self.add_host("user_annotation", name, self.host_us, self.host_us + wait_us)
        self.host_us += wait_us
        self.copy_to_device(2 * ROWS * WIDTH, 28.0)

    def forward(self, workload: Workload) -> None:
        """Add a forward pass of linear layers."""
        for _ in range(workload.layers):
            shapes = [[WIDTH], [ROWS, WIDTH], [WIDTH, WIDTH]]
            self.launch("aten::addmm", self.gpu.matmul, workload.matmul_us, shapes)
            self.launch("aten::gelu", self.gpu.elementwise, workload.elementwise_us)

    def backward(self, workload: Workload) -> None:
        """Add a backward pass: the gradients of the input and of the weight of each layer."""
        for _ in range(workload.layers):
            self.launch("aten::gelu_backward", self.gpu.elementwise, workload.elementwise_us)
            for shapes in ([[ROWS, WIDTH], [WIDTH, WIDTH]], [[WIDTH, ROWS], [ROWS, WIDTH]]):
                self.launch("aten::mm", self.gpu.matmul, workload.matmul_us, shapes)

    def step_optimizer(self, device_us: float) -> None:
        """Add a step of a fused optimizer."""
        start = self.host_us
        self.launch("aten::_fused_adamw_", self.gpu.optimizer, device_us, [[WIDTH, WIDTH]])
        name = "Optimizer.step#AdamW.step"
        self.add_host("user_annotation", name, start - 1, self.host_us)

    def read_loss(self) -> None:
        """Add `loss.item()`, which waits for the device."""
        start = self.host_us
        self.synchronize()
        self.host_us += 4.0
        self.add_host("cpu_op", "aten::_local_scalar_dense", start - 1, self.host_us)

    def to_document(self, **fields: Any) -> Event:
        """Return the content of the file; `fields` replace or add fields of the top level."""
        document: Event = {
            "schemaVersion": 1,
            "deviceProperties": [{"id": self.device, **self.gpu.properties}],
            "record_shapes": 1,
            "with_stack": 0,
            "displayTimeUnit": "ms",
            "baseTimeNanoseconds": BASE_TIME_NS,
        }
        if self.rank is not None:
            document["distributedInfo"] = {
                "backend": "nccl",
                "rank": self.rank,
                "world_size": self.ranks,
            }
        return {**document, "traceEvents": self.events, **fields}


def with_category(events: Iterable[Event], *categories: str) -> list[Event]:
    """Return the events with one of these categories, in order of time."""
    chosen = [event for event in events if event.get("cat") in categories and event["ph"] == "X"]
    return sorted(chosen, key=lambda event: event["ts"])


def shift(events: Iterable[Event], offset_us: float) -> None:
    """Move events in time."""
    for event in events:
        event["ts"] = round(event["ts"] + offset_us, 3)


def write_json(path: Path, document: Any) -> None:
    """Write a recording as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")


def output_folder(script: str) -> Path:
    """Return the folder that a `make.py` writes to: its argument, or `made` next to it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(script).parent / "made"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
