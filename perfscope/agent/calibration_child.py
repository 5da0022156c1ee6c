"""Runs in a child process, under the Python of the program that is to be judged: what this CPU does
with this torch.

Usage: calibration_child.py THREADS. Prints one line of JSON. The only file of ours that imports
torch: the agent never does.
"""

import json
import sys
import time

import torch

SIDE = 1536
TRIAD_ELEMENTS = 32_000_000
SECONDS = 0.35
FEWEST = 3
SLOW_S = 1.0
"""A run that takes longer is the only one: types that the CPU emulates take seconds each."""
TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def best_rate(work: float, run: "object") -> float:
    """`work` by the shortest of the runs of about a third of a second; the first is left out (code
    and pages are loaded).
    """
    assert callable(run)
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    if first > SLOW_S:
        return work / first
    shortest, begin, count = float("inf"), time.perf_counter(), 0
    while count < FEWEST or time.perf_counter() - begin < SECONDS:
        started = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - started)
        count += 1
    return work / shortest


def product(kind: torch.dtype) -> float | None:
    """FLOP/s of a square product, None where this build has none."""
    try:
        a, b = torch.rand(SIDE, SIDE).to(kind), torch.rand(SIDE, SIDE).to(kind)
        out = torch.empty(SIDE, SIDE, dtype=kind)
        return best_rate(2.0 * SIDE**3, lambda: torch.mm(a, b, out=out))
    except RuntimeError:
        return None


def triad() -> float:
    """Bytes/s of c = a + s b."""
    a, b, c = (torch.ones(TRIAD_ELEMENTS) for _ in range(3))
    return best_rate(3.0 * 4.0 * TRIAD_ELEMENTS, lambda: torch.add(a, b, alpha=3.0, out=c))


def main() -> None:
    threads = int(sys.argv[1]) or torch.get_num_threads()
    torch.set_num_threads(threads)
    rates = {name: rate for name, kind in TYPES.items() if (rate := product(kind)) is not None}
    said = {
        "torch": torch.__version__,
        "threads": threads,
        "flops_per_s": rates,
        "bytes_per_s": triad(),
    }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
