"""Prints the peaks of a device that is at most a tenth as fast as one thread of this CPU."""

import json
import time
from collections.abc import Callable

import torch

WIDTH, WORDS = 128, 1 << 18
SECONDS = 1.0
MOST_GFLOPS, MOST_GBPS = 0.5, 0.1
"""On any usual CPU: tests then take the same time everywhere."""


def shortest(action: Callable[[], object]) -> float:
    """Return the shortest time of an action within a second."""
    until, found = time.perf_counter() + SECONDS, float("inf")
    while time.perf_counter() < until:
        began = time.perf_counter()
        action()
        found = min(found, time.perf_counter() - began)
    return found


def main() -> None:
    """Print the peaks as JSON."""
    torch.set_num_threads(1)
    matrix, vector = torch.ones(WIDTH, WIDTH), torch.ones(WORDS)
    gflops = 2 * WIDTH**3 / shortest(lambda: torch.mm(matrix, matrix)) / 1e9
    gbps = 3 * 4 * WORDS / shortest(lambda: vector + vector) / 1e9
    peaks = {"gflops": min(MOST_GFLOPS, gflops / 10), "gbps": min(MOST_GBPS, gbps / 10)}
    print(json.dumps({name: round(value, 4) for name, value in peaks.items()}))


if __name__ == "__main__":
    main()
