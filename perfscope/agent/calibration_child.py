"""Measures the peak rates of this CPU with this torch.

Usage: calibration_child.py THREADS. Prints one line of JSON. It runs in a child process, with the
Python of the target; the agent itself never imports torch.
"""

import json
import sys
import time
from collections.abc import Callable

import torch

SIDE = 1536
TRIAD_ELEMENTS = 32_000_000
SECONDS = 0.35
FEWEST_RUNS = 3
SLOW_S = 1.0
"""A run that takes longer is not repeated: types that the CPU emulates take seconds."""
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


def main() -> None:
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
