"""The only file of the probe that calls a device: the accelerator that the process computes on.

Everything goes through torch, so that CUDA, ROCm, XPU and devices of other makers (PrivateUse1)
take the same path. Each call, its cost, and what it could disturb:

- `torch.cuda.is_initialized()`, `torch.accelerator.current_accelerator()`: read variables of torch.
  They create no context and cannot fail. (torch/cuda/__init__.py, torch/accelerator/__init__.py)
- `torch._C._cuda_getDevice()`, `_cuda_getCurrentStream()`: read variables of the calling thread.
  (c10/cuda/CUDAFunctions.cpp, CUDAStream.cpp)
- `torch._C._cuda_hasPrimaryContext(device)`: reads torch's own note. Without it, an event would
  create a context of hundreds of MB on a device that the program does not use.
- `torch.cuda.is_current_stream_capturing()`: cudaStreamIsCapturing, allowed during a capture, below
  a microsecond. An event that is recorded during a capture would become part of the program's
  graph.
- `Event.record()`: cudaEventRecord, one to two microseconds, without waiting for the device. torch
  releases the GIL. On the calling thread's current stream only.
- `Event.query()`, `Event.elapsed_time()`: cudaEventQuery and cudaEventElapsedTime, about a
  microsecond. They hold the GIL, and while another thread captures a graph in the default mode they
  would break that capture. So they are called only by the thread that recorded the event, which
  calls the driver all the time itself, not while torch captures a graph, and with the thread's
  capture mode relaxed. HIP broke captures in spite of that mode (ROCm/rocm-systems #3176, merged in
  February 2026): before OLDEST_HIP no event is recorded.
- `cudaThreadExchangeStreamCaptureMode` (hip...): changes a variable of the calling thread. torch's
  own watchdog of NCCL does the same around its queries. (c10/cuda/CUDAGraphsC10Utils.h)

Events are never destroyed in a forked child: their destructor calls the driver, which ends a
process that was forked after the driver was initialized. So the list that holds them has a
reference that only the process that made them gives back.
"""

import os
import sys
from typing import Any

# torch's name of the profiler's activity, by the type of the device. Others are PrivateUse1.
ACTIVITIES = {"cuda": "CUDA", "xpu": "XPU", "mtia": "MTIA", "hpu": "HPU"}
MOST_EVENTS = 16
UNKNOWN_STREAM = (-1, -1)
# The library of the runtime, and its function that sets how the calling thread takes part in
# captures; RELAXED: its calls do not break the captures of other threads.
RUNTIMES = (
    ("/libcudart.so", "cudaThreadExchangeStreamCaptureMode"),
    ("/libcudart-", "cudaThreadExchangeStreamCaptureMode"),
    ("/libamdhip64.so", "hipThreadExchangeStreamCaptureMode"),
)
RELAXED = 2
OLDEST_HIP = (7, 3)


class Accelerator:
    """The accelerator of this process, as torch shows it."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        version = torch.version
        self.hip = str(getattr(version, "hip", None) or "")
        self.has_cuda = bool(getattr(version, "cuda", None) or self.hip)

    def kind(self) -> str:
        """Return the type of the device that this process has begun to use, "" for none."""
        torch = self.torch
        if torch.cuda.is_initialized():
            return "cuda"
        accelerator = getattr(torch, "accelerator", None)
        device = accelerator.current_accelerator() if accelerator is not None else None
        if device is None or device.type == "cuda":
            return ""
        module = getattr(torch, device.type, None)
        is_in_use = getattr(module, "is_initialized", None) or getattr(module, "is_available", None)
        return str(device.type) if is_in_use is not None and is_in_use() else ""

    def activity(self) -> Any:
        """Return what torch's profiler calls the work of the device in use, None for no device."""
        kind, profiler = self.kind(), self.torch._C._profiler
        activity = getattr(profiler.ProfilerActivity, ACTIVITIES.get(kind, "PrivateUse1"), None)
        if not kind or activity is None:
            return None
        if kind == "cuda":
            return activity
        supported = self.torch._C._autograd._supported_activities()
        return activity if activity in supported else None

    def stream(self) -> "tuple[int, int]":
        """Return the device and the number of the calling thread's current stream."""
        torch = self.torch
        if self.has_cuda:
            device = int(torch._C._cuda_getDevice())
            return device, int(torch._C._cuda_getCurrentStream(device)[0])
        accelerator = getattr(torch, "accelerator", None)
        if accelerator is None or accelerator.current_accelerator() is None:
            return UNKNOWN_STREAM
        stream = accelerator.current_stream()
        return int(stream.device_index), int(stream.stream_id)

    def devices(self) -> "list[str]":
        """Return the UUIDs of the CUDA devices on which this process has a context.

        In a container the driver may not be able to say it.
        """
        torch = self.torch
        has_context = getattr(torch._C, "_cuda_hasPrimaryContext", None)
        if not self.has_cuda or has_context is None or not torch.cuda.is_initialized():
            return []
        used = [number for number in range(torch.cuda.device_count()) if has_context(number)]
        known = [torch.cuda.get_device_properties(number) for number in used]
        return [str(device.uuid) for device in known if hasattr(device, "uuid")]

    def float32_products(self) -> str:
        """Return how products of float32 are computed: `tf32`, `ieee`, or "" where unknown.

        torch keeps two settings, an old and a new one, and complains if both were used.
        """
        get, torch = getattr(self.torch._C, "_get_fp32_precision_getter", None), self.torch
        if self.kind() != "cuda" or not self.has_cuda:
            return ""
        try:
            if get is not None:
                precision = get("cuda", "matmul")
                return "tf32" if precision == "tf32" else "ieee"
            return "tf32" if torch._C._get_cublas_allow_tf32() else "ieee"
        except RuntimeError:
            return ""

    def may_record(self) -> bool:
        """Return whether an event may be recorded on the calling thread's current stream."""
        kind = self.kind()
        if kind != "cuda":
            return bool(kind)
        if self.hip and numbers_of_version(self.hip) < OLDEST_HIP:
            return False
        if self.has_cuda:
            has_context = getattr(self.torch._C, "_cuda_hasPrimaryContext", None)
            if has_context is None or not has_context(self.torch._C._cuda_getDevice()):
                return False
        return not self.torch.cuda.is_current_stream_capturing()

    def new_event(self) -> Any:
        """Return a new event that keeps the time; the device does not know it yet."""
        kind = self.kind()
        if kind == "cuda":
            return self.torch.cuda.Event(enable_timing=True)
        return self.torch.Event(kind, enable_timing=True)


def numbers_of_version(version: str) -> "tuple[int, ...]":
    """Return major and minor number of a version, () where they are not numbers."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


class Mark:
    """An event of torch, and the stream on which it was recorded last."""

    __slots__ = ("event", "stream")

    def __init__(self, event: Any) -> None:
        self.event = event
        self.stream = UNKNOWN_STREAM


class EventPool:
    """The events of one probe; all are on the device of the first.

    An error of the device ends their use: the program meets the same error.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.device: int | None = None
        self.pid = os.getpid()
        self.every: list[Mark] = []
        self.free: list[Mark] = []
        self.is_held = self.is_usable = hold(self.every, 1)
        self.exchange_mode: Any = capture_mode_function() if accelerator.has_cuda else None

    def take(self) -> "Mark | None":
        """Return a free event, recorded on the current stream now; None if that is not possible."""
        if not self.is_usable:
            return None
        try:
            stream = self.accelerator.stream()
            is_other = self.device not in (None, stream[0])
            if is_other or not self.accelerator.may_record():
                return None
            mark = self.free_mark()
            if mark is not None:
                self.device, mark.stream = stream[0], stream
                mark.event.record()
        except RuntimeError:
            self.is_usable = False
            return None
        return mark

    def free_mark(self) -> "Mark | None":
        """Return an event that is not in use, a new one if there is none; None if there are enough.

        Several threads may call this at once.
        """
        try:
            return self.free.pop()
        except IndexError:
            if len(self.every) >= MOST_EVENTS:
                return None
        mark = Mark(self.accelerator.new_event())
        self.every.append(mark)
        return mark

    def give_back(self, *marks: "Mark | None") -> None:
        """Make events available again."""
        self.free += [mark for mark in marks if mark is not None]

    def is_reached(self, mark: Mark) -> bool:
        """Return whether the device has reached an event; True if that cannot be known any more.

        Only the thread that recorded it may call this, and not while a graph is captured.
        """
        reached = self.asked(lambda: bool(mark.event.query()))
        return reached is not False

    def elapsed_ns(self, first: Mark, second: Mark) -> "int | None":
        """Return the time on the device between two events, None if it has not reached the second.

        Only the thread that recorded them may call this, and not while a graph is captured.
        """
        if not self.is_reached(second):
            return None
        elapsed_ms = self.asked(lambda: float(first.event.elapsed_time(second.event)))
        return None if elapsed_ms is None else int(elapsed_ms * 1e6)

    def asked(self, question: Any) -> Any:
        """Return the answer of the device, None if it does not answer any more."""
        if not self.is_usable:
            return None
        before = None if self.exchange_mode is None else self.exchange_mode(RELAXED)
        try:
            return question()
        except RuntimeError:
            self.is_usable = False
            return None
        finally:
            if before is not None and self.exchange_mode is not None:
                self.exchange_mode(before)

    def release(self) -> None:
        """Give the events back to torch, in the process that made them."""
        self.is_usable = False
        if self.is_held and self.pid == os.getpid():
            self.is_held = False
            hold(self.every, -1)


def hold(thing: Any, references: int) -> bool:
    """Add a reference to an object that no Python object owns, or take it away again (-1).

    Returns False if that is not possible.
    """
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return False
    count = ctypes.pythonapi.Py_IncRef if references > 0 else ctypes.pythonapi.Py_DecRef
    count(ctypes.py_object(thing))
    return True


def capture_mode_function() -> Any:
    """Return a function that sets the calling thread's capture mode and returns the one before.

    It returns None where the mode could not be set. There is no function if the library of the
    runtime is not found among those that are loaded.
    """
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return None
    with open("/proc/self/maps", errors="surrogateescape", newline="\n") as maps:
        paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/lib" in line}
    for library, name in RUNTIMES:
        path = next((path for path in sorted(paths) if library in path), None)
        function = None if path is None else getattr(ctypes.CDLL(path), name, None)
        if function is not None:
            return mode_exchanger(ctypes, function)
    return None


def mode_exchanger(ctypes: Any, function: Any) -> Any:
    """Return `function` of the runtime as a function from a mode to the one before, or to None."""

    def exchange(mode: int) -> "int | None":
        value = ctypes.c_int(mode)
        return int(value.value) if function(ctypes.byref(value)) == 0 else None

    return exchange
