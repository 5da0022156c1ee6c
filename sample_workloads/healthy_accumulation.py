"""Verdict: healthy. A GAN with gradient accumulation, two optimizers and regular evaluation.

One step is one round of accumulation and both updates.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import (
    Meter,
    device,
    distribute,
    make_layers,
    parse_arguments,
    rank_sampler,
)

WIDTH = 256
ACCUMULATE, EVALUATE_EVERY, EVALUATION = 4, 50, 8
Batch = tuple[torch.Tensor, ...]


class Gan:
    """A generator, a discriminator and an optimizer for each."""

    def __init__(self) -> None:
        self.generator = distribute(make_layers(WIDTH, 4, classes=WIDTH))
        self.discriminator = distribute(make_layers(WIDTH, 4, classes=1))
        self.generator_optimizer = torch.optim.AdamW(self.generator.parameters(), lr=1e-4)
        self.discriminator_optimizer = torch.optim.AdamW(self.discriminator.parameters(), lr=1e-4)

    def discriminator_loss(self, real: torch.Tensor) -> torch.Tensor:
        """Return the loss of the discriminator on real and generated samples."""
        generated = self.generator(torch.randn_like(real)).detach()
        scores = self.discriminator(torch.cat([real, generated]))
        truth = torch.cat([torch.ones(len(real), 1), torch.zeros(len(generated), 1)]).to(
            scores.device
        )
        return nn.functional.binary_cross_entropy_with_logits(scores, truth)

    def generator_loss(self, real: torch.Tensor) -> torch.Tensor:
        """Return the loss of the generator: its samples should pass for real."""
        scores = self.discriminator(self.generator(torch.randn_like(real)))
        return nn.functional.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))

    def accumulate(self, real: torch.Tensor, *, last: bool) -> None:
        """Add both gradients of a micro-batch; ranks exchange them with the last one only."""
        with contextlib.ExitStack() as without_exchange:
            for part in (self.generator, self.discriminator):
                if isinstance(part, nn.parallel.DistributedDataParallel) and not last:
                    without_exchange.enter_context(part.no_sync())
            self.discriminator.requires_grad_(True)
            (self.discriminator_loss(real) / ACCUMULATE).backward()
            self.discriminator.requires_grad_(False)
            (self.generator_loss(real) / ACCUMULATE).backward()

    def update(self) -> None:
        """Run both optimizers."""
        for optimizer in (self.discriminator_optimizer, self.generator_optimizer):
            optimizer.step()
            optimizer.zero_grad()

    @torch.inference_mode()
    def evaluate(self, held_out: DataLoader[Batch]) -> float:
        """Return the mean loss of the discriminator over a few batches."""
        batches = itertools.islice(held_out, EVALUATION)
        return (
            sum(float(self.discriminator_loss(real.to(device()))) for (real,) in batches)
            / EVALUATION
        )


def cycle_batches(loader: DataLoader[Batch]) -> Iterator[Any]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = TensorDataset(torch.randn(65536, WIDTH))
    loader = DataLoader(data, batch_size=128, sampler=rank_sampler(data))
    held_out = DataLoader(data, batch_size=128)
    gan, meter, batches = Gan(), Meter(args), cycle_batches(loader)
    while not meter.done():
        waited = 0.0
        for micro_step in range(ACCUMULATE):
            began = time.monotonic()
            (real,) = next(batches)
            waited += time.monotonic() - began
            gan.accumulate(real.to(device()), last=micro_step == ACCUMULATE - 1)
        gan.update()
        meter.step(waited)
        if meter.steps % EVALUATE_EVERY == 0:
            gan.evaluate(held_out)


if __name__ == "__main__":
    main()
