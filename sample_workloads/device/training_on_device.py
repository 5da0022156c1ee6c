"""What the samples for accelerators share: sizes for the device in use, and early copies."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from sample_workloads.training import Meter, classify, device, make_layers

PRODUCT_S = 0.004
TRIES, REPEATS = 8, 4
SMALLEST_WIDTH, LARGEST_WIDTH = 64, 8192
SMALLEST_COPY, LARGEST_COPY = 1 << 16, 1 << 30


def seconds_on_device(action: Callable[[], object]) -> float:
    """Return the shortest time that an action takes on the device, of some tries."""
    return min(time_on_device(action) for _ in range(TRIES))


def time_on_device(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes on the device when the host is ahead of it."""
    action()
    if device().type == "cpu":
        began = time.monotonic()
        action()
        return time.monotonic() - began
    first, last = (torch.Event(device(), enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(REPEATS):
        action()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3 / REPEATS


def width_of_layers(kind: torch.dtype = torch.float32) -> int:
    """Return the smallest width, a power of two, whose square product keeps the device busy."""
    width = SMALLEST_WIDTH
    while width < LARGEST_WIDTH:
        matrix = torch.ones(width, width, dtype=kind, device=device())
        if seconds_on_device(lambda matrix=matrix: torch.mm(matrix, matrix)) >= PRODUCT_S:
            break
        width *= 2
    return width


def size_of_copy(seconds: float, *, pinned: bool) -> int:
    """Return the bytes, a power of two, whose copy to the device takes at least this long."""
    size = SMALLEST_COPY
    while size < LARGEST_COPY:
        data = torch.zeros(size, dtype=torch.uint8)
        source = pin(data) if pinned else data
        if seconds_on_device(lambda source=source: source.to(device())) >= seconds:
            break
        size *= 2
    return size


def pin(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in pinned memory; the same one where there is no accelerator."""
    return tensor if device().type == "cpu" else tensor.pin_memory()


def deep_model(width: int, kind: torch.dtype = torch.float32) -> nn.Module:
    """Return layers of one width whose training step takes some ten products."""
    return make_layers(width, 4).to(device(), kind)


class Prefetcher:
    """Batches of a source that copies them to the device on a stream of its own, one ahead."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches
        self.stream = None if device().type == "cpu" else torch.Stream(device())

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        ahead = None
        for batch in self.batches:
            coming = self.copy(batch)
            if ahead is not None:
                yield self.wait_for(ahead)
            ahead = coming
        if ahead is not None:
            yield self.wait_for(ahead)

    def copy(self, batch: Any) -> list[torch.Tensor]:
        """Start to copy a batch."""
        with self.stream or contextlib.nullcontext():
            return [part.to(device(), non_blocking=True) for part in batch]

    def wait_for(self, copied: list[torch.Tensor]) -> list[torch.Tensor]:
        """Let the work that follows wait for a copy; the host does not wait."""
        if self.stream is not None:
            current = torch.accelerator.current_stream()
            current.wait_stream(self.stream)
            for part in copied:
                part.record_stream(current)
        return copied


def train_on_device(
    model: nn.Module,
    batches: Iterable[Any],
    meter: Meter,
    *,
    after_step: Callable[[torch.Tensor], object] = lambda loss: None,
    learn: Callable[[nn.Module, Any], torch.Tensor] = classify,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train on batches that are on the device, epoch after epoch; the host waits for nothing."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1e-3)
    while not meter.done():
        began = time.monotonic()
        for batch in batches:
            waited = time.monotonic() - began
            loss = learn(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after_step(loss.detach())
            meter.step(waited)
            if meter.done():
                break
            began = time.monotonic()
