"""A training loop of many small operators.

Usage: `windowed_target.py OUT [--by-hand STEPS] [--stripped] [--steps N]`. It writes a line per step to OUT: CLOCK_MONOTONIC at its end, ns, and the loss. `--by-hand`: a
torch.profiler of its own, as a user writes it, over STEPS steps after the 300th; its begin and end
go to OUT.profiled. `--stripped`: the library lacks what ends a profile without the GIL.
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
    """Without the function that ends a profile."""

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
    own = None
    with args.out.open("w", buffering=1) as lines:
        for step in range(args.steps):
            if args.by_hand and step == BEFORE:
                own = profile(
                    activities=[ProfilerActivity.CPU], record_shapes=True, profile_memory=True
                )
                own.start()
                began = time.monotonic_ns()
            optimizer.zero_grad()
            loss = model(torch.randn(8, 16)).square().mean()
            loss.backward()
            optimizer.step()
            lines.write(f"{time.monotonic_ns()} {loss.item().hex()}\n")
            if own is not None and step == BEFORE + args.by_hand - 1:
                ended = time.monotonic_ns()
                own.stop()
                args.out.with_name(args.out.name + ".profiled").write_text(f"{began} {ended}")
                own = None


if __name__ == "__main__":
    main()
