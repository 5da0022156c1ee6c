"""What the sample workloads share: arguments, a meter, ranks under torchrun, a training loop."""

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
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STEPS_PER_STOP_CHECK = 8
GPU_VARIATIONS = 256
AUTO = "auto"
chosen_device = AUTO
"""The value of `--device`."""


def parse_arguments(description: str | None, *, workers: int = 0) -> argparse.Namespace:
    """Parse the options, set the device, one thread and the seed, and end on SIGTERM and SIGINT."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--fix", action="store_true", help="run without the bottleneck")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this long")
    parser.add_argument("--steps", type=int, default=10**9, help="stop after this many steps")
    parser.add_argument("--workers", type=int, default=workers, help="loader workers")
    parser.add_argument(
        "--device", default=AUTO, help="auto (default): the accelerator of torch, else the CPU"
    )
    args = parser.parse_args()
    global chosen_device
    chosen_device = args.device
    for number in STOP_SIGNALS:
        # `finally` and `atexit` then clean up.
        signal.signal(number, lambda *_: sys.exit(0))
    torch.set_num_threads(1)
    torch.manual_seed(RANK)
    return args


def usable_cores() -> int:
    """Return the number of cores that this process may use; under torchrun, its share of them."""
    return max(1, len(os.sched_getaffinity(0)) // LOCAL_RANKS)


def step_slowdown() -> float:
    """Return how much longer a step takes where local ranks exchange gradients.

    The delay of an input that must be the bottleneck is multiplied by this factor.
    """
    return 2.5 if LOCAL_RANKS > 1 else 1.0


def device() -> torch.device:
    """Return the device of this rank: that of `--device`, else an accelerator if there is one."""
    if chosen_device != AUTO:
        return torch.device(chosen_device)
    kind = accelerator_type()
    if kind is None:
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device(kind, local_rank % torch.get_device_module(kind).device_count())


def accelerator_type() -> str | None:
    """Return the type of the accelerator, None without one; torch before 2.6 knows only CUDA."""
    if torch.cuda.is_available():
        return "cuda"
    if not hasattr(torch, "accelerator") or not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return None if found is None else str(found.type)


def synchronize() -> None:
    """Wait until the device has finished its work."""
    if device().type == "cuda":
        torch.cuda.synchronize()
    elif device().type != "cpu":
        torch.accelerator.synchronize()


def make_layers(width: int, depth: int, classes: int = 10) -> nn.Sequential:
    """Return a multilayer perceptron."""
    hidden = itertools.chain.from_iterable(
        (nn.Linear(width, width), nn.ReLU()) for _ in range(depth)
    )
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def distribute(model: nn.Module) -> nn.Module:
    """Return the model on its device; under torchrun, wrapped for data-parallel training (gloo)."""
    model = model.to(device())
    if not UNDER_TORCHRUN:
        return model
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
        atexit.register(distributed.destroy_process_group)
    return nn.parallel.DistributedDataParallel(model)


def rank_sampler(data: Dataset[Any]) -> DistributedSampler[Any] | None:
    """Return a sampler for this rank's part of the data; None for one process, which reads all."""
    if not UNDER_TORCHRUN:
        return None
    return DistributedSampler(data, RANKS, RANK, shuffle=False)


class Meter:
    """Prints the measurements of the program once per second as JSON, and decides when to stop.

    SIGTERM and SIGINT let the current step end, so that loaders close as after the last epoch.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.began = self.printed = time.monotonic()
        self.steps = self.printed_steps = 0
        self.waited = self.printed_waited = 0.0
        self.stopped = self.all_stop = False
        self.agreed_at = -1
        for number in STOP_SIGNALS:
            signal.signal(number, self.stop)

    def stop(self, *_: object) -> None:
        """End after this step."""
        self.stopped = True

    def step(self, waited: float = 0.0) -> None:
        """Count a step, which has waited for its data for `waited` seconds."""
        self.steps += 1
        self.waited += waited
        now = time.monotonic()
        elapsed = now - self.printed
        if elapsed < 1.0:
            return
        steps, waited = self.steps - self.printed_steps, self.waited - self.printed_waited
        measurements = {
            "steps": self.steps,
            "steps_per_s": round(steps / elapsed, 2),
            "step_ms": round(1000 * elapsed / steps, 3),
            "wait_ms": round(1000 * waited / steps, 3),
            "rank": RANK,
        }
        sys.stdout.write(json.dumps(measurements) + "\n")
        sys.stdout.flush()
        self.printed, self.printed_steps, self.printed_waited = now, self.steps, self.waited

    def done(self) -> bool:
        """Return whether the program should end."""
        stops = self.stopped or time.monotonic() - self.began >= self.args.seconds
        if distributed.is_initialized():
            stops = self.any_rank_stops(stops)
        return stops or self.steps >= self.args.steps

    def any_rank_stops(self, stops: bool) -> bool:
        """Return whether any rank stops; all must stop together, or the others would wait for it.

        The ranks communicate every STEPS_PER_STOP_CHECK steps.
        """
        if self.steps % STEPS_PER_STOP_CHECK == 0 and self.steps != self.agreed_at:
            any_stops = torch.tensor(int(stops))
            distributed.all_reduce(any_stops, distributed.ReduceOp.MAX)
            self.all_stop, self.agreed_at = bool(any_stops), self.steps
        return self.all_stop


def train(
    model: nn.Module,
    batches: Iterable[Any],
    args: argparse.Namespace,
    *,
    learn: Callable[[nn.Module, Any], torch.Tensor] | None = None,
    every_step: Callable[[int], None] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train on `batches`, epoch after epoch; `learn(model, batch)` returns the loss."""
    model = distribute(model)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1e-3)
    meter, target_device = Meter(args), device()
    learn = learn or classify
    while not meter.done():
        began = time.monotonic()
        for batch in batches:
            waited = time.monotonic() - began
            batch = [
                part.to(target_device) if isinstance(part, torch.Tensor) else part for part in batch
            ]
            loss = learn(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if every_step:
                every_step(meter.steps)
            meter.step(waited)
            if meter.done():
                break
            began = time.monotonic()


def classify(model: nn.Module, batch: Any, *, variations: int = 1) -> torch.Tensor:
    """Return the loss of a classifier, with `variations` of each input augmented on the device."""
    inputs, labels = batch[:2]
    # A GPU would have too little to do otherwise.
    variations *= GPU_VARIATIONS if inputs.is_cuda else 1
    if variations > 1:
        inputs, labels = inputs.repeat(variations, 1), labels.repeat(variations)
        inputs = inputs + 0.05 * torch.randn_like(inputs)
    return nn.functional.cross_entropy(model(inputs), labels)
