"""Measures the peak rates of this CPU, or of the accelerators, with this torch.

Usage: calibration_child.py THREADS, or calibration_child.py devices. Prints one line of JSON. It
runs in a child process, with the Python of the target; the agent itself never imports torch.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

SIDE = 1536
TRIAD_ELEMENTS = 32_000_000
SECONDS = 0.35
FEWEST_RUNS = 3
SLOW_S = 1.0
"""A run that takes longer is not repeated: types that the CPU emulates take seconds."""
DEVICES = "devices"
SIDES = (256, 512, 1024, 2048, 4096, 8192)
ELEMENTS = tuple(1 << power for power in range(20, 27))
LONG_ENOUGH_S = 0.005
"""Work on a device that takes so long hides the time of its launch."""
TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def best_rate(work: float, run: Callable[[], object]) -> float:
    """Return `work` divided by the time of the fastest run.

    Runs are repeated for a third of a second. The first one does not count: it loads code and
    pages.
    """
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    if first > SLOW_S:
        return work / first
    shortest, begin, count = float("inf"), time.perf_counter(), 0
    while count < FEWEST_RUNS or time.perf_counter() - begin < SECONDS:
        started = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - started)
        count += 1
    return work / shortest


def multiplication_rate(kind: torch.dtype) -> float | None:
    """Return the FLOP/s of a square matrix multiplication, None where torch does not support it."""
    try:
        a, b = torch.rand(SIDE, SIDE).to(kind), torch.rand(SIDE, SIDE).to(kind)
        out = torch.empty(SIDE, SIDE, dtype=kind)
        return best_rate(2.0 * SIDE**3, lambda: torch.mm(a, b, out=out))
    except RuntimeError:
        return None


def triad_rate() -> float:
    """Return the bytes per second of the triad c = a + s * b."""
    a, b, c = (torch.ones(TRIAD_ELEMENTS) for _ in range(3))
    return best_rate(3.0 * 4.0 * TRIAD_ELEMENTS, lambda: torch.add(a, b, alpha=3.0, out=c))


def device_rates(kind: str, index: int) -> dict[str, Any]:
    """Return the name and the compute units of a device, and the rates of arithmetic and memory."""
    device = torch.device(kind, index)
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    rates = {}
    for name, dtype in TYPES.items():
        try:
            rates[name] = largest_rate(partial(product, dtype, device), SIDES)
        except RuntimeError:  # the device does not have this type
            continue
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        rates["tf32"] = largest_rate(partial(product, torch.float32, device), SIDES)
    name, units = identity(kind, index)
    return {
        "device": name,
        "multiprocessors": units,
        "flops_per_s": rates,
        "bytes_per_s": largest_rate(partial(triad, device), ELEMENTS),
    }


def identity(kind: str, index: int) -> tuple[str, int]:
    """Return the name of a device, and its number of compute units; -1 where that is unknown."""
    module = torch.get_device_module(kind)
    properties = getattr(module, "get_device_properties", lambda _: None)(index)
    units = getattr(properties, "multi_processor_count", -1)
    return module.get_device_name(index), int(units)


def product(
    dtype: torch.dtype, device: torch.device, side: int
) -> tuple[float, Callable[[], object]]:
    """Return the FLOP of a square matrix multiplication, and what runs it to its end."""
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)

    def run() -> None:
        torch.mm(a, b, out=out)
        torch.accelerator.synchronize(device)

    return 2.0 * side**3, run


def triad(device: torch.device, count: int) -> tuple[float, Callable[[], object]]:
    """Return the bytes of the triad c = a + s * b, and what runs it to its end."""
    a, b = (torch.ones(count, device=device) for _ in range(2))

    def run() -> None:
        torch.add(a, b, alpha=3.0)
        torch.accelerator.synchronize(device)

    return 3.0 * 4.0 * count, run


def largest_rate(
    work_of: Callable[[int], tuple[float, Callable[[], object]]], sizes: tuple[int, ...]
) -> float:
    """Return the rate for the first size whose work takes LONG_ENOUGH_S, else for the last."""
    rate = 0.0
    for size in sizes:
        work, run = work_of(size)
        rate = best_rate(work, run)
        if work / rate >= LONG_ENOUGH_S:
            break
    return rate


def measure_devices() -> None:
    """Print the rates of one device of each kind that torch's accelerator has."""
    devices: list[dict[str, Any]] = []
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is not None and accelerator.is_available():
        kind = accelerator.current_accelerator().type
        numbers = reversed(range(accelerator.device_count()))
        first = {identity(kind, index): index for index in numbers}
        devices = [device_rates(kind, index) for index in sorted(first.values())]
    sys.stdout.write(json.dumps({"torch": torch.__version__, "devices": devices}) + "\n")


def main() -> None:
    if sys.argv[1] == DEVICES:
        measure_devices()
        return
    threads = int(sys.argv[1]) or torch.get_num_threads()
    torch.set_num_threads(threads)
    rates: dict[str, float] = {}
    for name, kind in TYPES.items():
        rate = multiplication_rate(kind)
        if rate is not None:
            rates[name] = rate
    measured = {
        "torch": torch.__version__,
        "threads": threads,
        "flops_per_s": rates,
        "bytes_per_s": triad_rate(),
    }
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main()
