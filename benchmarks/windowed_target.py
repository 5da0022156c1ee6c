"""A training loop of many small operators.

Usage: `windowed_target.py OUT [--by-hand STEPS] [--stripped] [--steps N]`.

For each step it writes a line to OUT: CLOCK_MONOTONIC at its end, in ns, and the loss. With
`--by-hand` it runs its own torch.profiler, as a user writes it, over STEPS steps after the 300th,
and writes its begin and end to OUT.profiled. With `--stripped` its torch lacks the function that
ends a profile without the GIL.
"""

import argparse
import ctypes
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

LAYERS = 24
BEFORE = 300


class Stripped(ctypes.CDLL):
    """A library without the function that ends a profile."""

    def __getattr__(self, name: str) -> Any:
        if "disableProfiler" in name:
            raise AttributeError(name)
        return super().__getattr__(name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--by-hand", type=int, default=0)
    parser.add_argument("--stripped", action="store_true")
    parser.add_argument("--steps", type=int, default=10**9)
    args = parser.parse_args()
    if args.stripped:
        ctypes.CDLL = Stripped  # type: ignore[misc]
    torch.manual_seed(3)
    torch.set_num_threads(1)
    layers = [layer for _ in range(LAYERS) for layer in (torch.nn.Linear(16, 16), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=False)
    profiler = None
    with args.out.open("w", buffering=1) as lines:
        for step in range(args.steps):
            if args.by_hand and step == BEFORE:
                profiler = profile(
                    activities=[ProfilerActivity.CPU], record_shapes=True, profile_memory=True
                )
                profiler.start()
                began = time.monotonic_ns()
            optimizer.zero_grad()
            loss = model(torch.randn(8, 16)).square().mean()
            loss.backward()
            optimizer.step()
            lines.write(f"{time.monotonic_ns()} {loss.item().hex()}\n")
            if profiler is not None and step == BEFORE + args.by_hand - 1:
                ended = time.monotonic_ns()
                profiler.stop()
                args.out.with_name(args.out.name + ".profiled").write_text(f"{began} {ended}")
                profiler = None


if __name__ == "__main__":
    main()
