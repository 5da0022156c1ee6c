"""What the sample programs share: their arguments, their own meter, ranks under torchrun, and a
plain training loop.
"""

import argparse
import atexit
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import Dataset, DistributedSampler

RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
LOCAL_RANKS = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
UNDER_TORCHRUN = "RANK" in os.environ
ENDINGS = (signal.SIGTERM, signal.SIGINT)
AGREE_EVERY = 8
GPU_VARIATIONS = 256


def arguments(description: str | None, *, workers: int = 0) -> argparse.Namespace:
    """--fix, --seconds, --steps and, for those with a loader, --workers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--fix", action="store_true", help="without the illness")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this long")
    parser.add_argument("--steps", type=int, default=10**9, help="stop after this many steps")
    parser.add_argument(
        "--workers", type=int, default=workers, help="loader workers of the ill program"
    )
    args = parser.parse_args()
    for ending in ENDINGS:
        signal.signal(ending, lambda *_: sys.exit(0))  # so that `finally` and `atexit` clean up
    torch.set_num_threads(1)
    torch.manual_seed(RANK)
    return args


def usable_cores() -> int:
    """Cores this process may use: under torchrun its share of them."""
    return max(1, len(os.sched_getaffinity(0)) // LOCAL_RANKS)


def exchanging() -> float:
    """How much longer a step takes where ranks on one machine exchange gradients: input that is to
    be too slow must be as much slower.
    """
    return 2.5 if LOCAL_RANKS > 1 else 1.0


def device() -> torch.device:
    """The GPU when there is one; under torchrun each local rank its own, as far as there are
    enough.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def layers(width: int, depth: int, classes: int = 10) -> nn.Sequential:
    """A plain perceptron."""
    hidden = itertools.chain.from_iterable(
        (nn.Linear(width, width), nn.ReLU()) for _ in range(depth)
    )
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def over_ranks(model: nn.Module) -> nn.Module:
    """The model on its device; under torchrun wrapped for data-parallel training (gloo)."""
    model = model.to(device())
    if not UNDER_TORCHRUN:
        return model
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
        atexit.register(distributed.destroy_process_group)
    return nn.parallel.DistributedDataParallel(model)


def own_part(data: Dataset[Any]) -> DistributedSampler[Any] | None:
    """Under torchrun each rank's own part of the data; alone all of it, in order."""
    return DistributedSampler(data, RANKS, RANK, shuffle=False) if UNDER_TORCHRUN else None


class Meter:
    """The program's own word on itself: one JSON line a second on stdout, and when to stop.

    From now on SIGTERM and SIGINT let the step end, so that loaders close as they do after the last
    epoch.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.began = self.told = time.monotonic()
        self.steps = self.steps_told = 0
        self.waited = self.waited_told = 0.0
        self.stopped = self.agreed = False
        self.agreed_at = -1
        for ending in ENDINGS:
            signal.signal(ending, self.stop)

    def stop(self, *_: object) -> None:
        """End after this step."""
        self.stopped = True

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
            "rank": RANK,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        self.told, self.steps_told, self.waited_told = now, self.steps, self.waited

    def done(self) -> bool:
        """Has it run long enough?"""
        over = self.stopped or time.monotonic() - self.began >= self.args.seconds
        if distributed.is_initialized():
            over = self.together(over)
        return over or self.steps >= self.args.steps

    def together(self, over: bool) -> bool:
        """Is it over for any rank? Asked every few steps: a rank that stops alone leaves the others
        waiting for it.
        """
        if self.steps % AGREE_EVERY == 0 and self.steps != self.agreed_at:
            anyone = torch.tensor(int(over))
            distributed.all_reduce(anyone, distributed.ReduceOp.MAX)
            self.agreed, self.agreed_at = bool(anyone), self.steps
        return self.agreed


def train(
    model: nn.Module,
    batches: Iterable[Any],
    args: argparse.Namespace,
    *,
    learn: Callable[[nn.Module, Any], torch.Tensor] | None = None,
    every_step: Callable[[int], None] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Epoch after epoch over `batches` until the meter says stop; `learn(model, batch)` gives the
    loss.
    """
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


def classify(model: nn.Module, batch: Any, *, variations: int = 1) -> torch.Tensor:
    """The usual loss of a classifier, each input seen in some variations (augmented where the model
    runs).
    """
    inputs, labels = batch[:2]
    variations *= GPU_VARIATIONS if inputs.is_cuda else 1  # or a GPU would have nothing to do
    if variations > 1:
        inputs, labels = inputs.repeat(variations, 1), labels.repeat(variations)
        inputs = inputs + 0.05 * torch.randn_like(inputs)
    return nn.functional.cross_entropy(model(inputs), labels)
