"""What the sample programs share: their arguments, their own meter, ranks under torchrun, and a plain training loop."""

import argparse
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def arguments(description: str | None, *, workers: int = 0) -> argparse.Namespace:
    """--fix, --seconds, --steps and, for those with a loader, --workers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--fix", action="store_true", help="without the illness")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this long")
    parser.add_argument("--steps", type=int, default=10**9, help="stop after this many steps")
    parser.add_argument("--workers", type=int, default=workers, help="loader workers of the ill program")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that `finally` and `atexit` clean up
    torch.set_num_threads(1)
    torch.manual_seed(int(os.environ.get("RANK", "0")))
    return args


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def layers(width: int, depth: int, classes: int = 10) -> nn.Sequential:
    """A plain perceptron."""
    hidden = itertools.chain.from_iterable((nn.Linear(width, width), nn.ReLU()) for _ in range(depth))
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def over_ranks(model: nn.Module) -> nn.Module:
    """The model on its device; under torchrun wrapped for data-parallel training (gloo)."""
    model = model.to(device())
    if "RANK" not in os.environ:
        return model
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    return nn.parallel.DistributedDataParallel(model)


class Meter:
    """The program's own word on itself: one JSON line a second on stdout, and when to stop."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.began = self.told = time.monotonic()
        self.steps = self.steps_told = 0
        self.waited = self.waited_told = 0.0

    def step(self, waited: float = 0.0) -> None:
        """One step is done, of which `waited` seconds went into waiting for its data."""
        self.steps += 1
        self.waited += waited
        now = time.monotonic()
        if now - self.told < 1.0:
            return
        steps, waited = self.steps - self.steps_told, self.waited - self.waited_told
        said = {
            "steps": self.steps,
            "steps_per_s": round(steps / (now - self.told), 2),
            "step_ms": round(1000 * (now - self.told) / steps, 3),
            "wait_ms": round(1000 * waited / steps, 3),
        }
        print(json.dumps(said), flush=True)
        self.told, self.steps_told, self.waited_told = now, self.steps, self.waited

    def done(self) -> bool:
        """Has it run long enough?"""
        return self.steps >= self.args.steps or time.monotonic() - self.began >= self.args.seconds


def train(
    model: nn.Module,
    batches: Iterable[Any],
    args: argparse.Namespace,
    *,
    learn: Callable[[nn.Module, Any], torch.Tensor] | None = None,
    every_step: Callable[[int], None] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Epoch after epoch over `batches` until the meter says stop; `learn(model, batch)` gives the loss."""
    model = over_ranks(model)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1e-3)
    meter, where = Meter(args), device()
    learn = learn or classify
    while not meter.done():
        asked = time.monotonic()
        for batch in batches:
            waited = time.monotonic() - asked
            batch = [part.to(where) if isinstance(part, torch.Tensor) else part for part in batch]
            loss = learn(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if every_step:
                every_step(meter.steps)
            meter.step(waited)
            if meter.done():
                break
            asked = time.monotonic()


def classify(model: nn.Module, batch: Any) -> torch.Tensor:
    """The usual loss of a classifier."""
    inputs, labels = batch
    return nn.functional.cross_entropy(model(inputs), labels)
