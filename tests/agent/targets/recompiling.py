"""Compiled code that gets a longer list in each step: `recompiling.py OUT`."""

import sys
import time

import torch

torch._dynamo.config.recompile_limit = 10**6
torch._dynamo.config.accumulated_recompile_limit = 10**6


@torch.compile(backend="eager")
def added(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([part + 1 for part in parts]).sum()


if __name__ == "__main__":
    with open(sys.argv[1], "w", buffering=1) as out:
        for length in range(1, 10**6):
            added([torch.ones(4)] * length)
            time.sleep(0.05)
            out.write(f"{time.monotonic_ns()}\n")
