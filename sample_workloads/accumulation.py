"""ill: healthy. A GAN that accumulates gradients, has two optimizers and evaluates now and then:
one step a round.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import Meter, arguments, device, layers, over_ranks, own_part

WIDTH = 256
ACCUMULATE, EVALUATE_EVERY, EVALUATION = 4, 50, 8
Batch = tuple[torch.Tensor, ...]


class Gan:
    """A generator, a discriminator and an optimizer for each."""

    def __init__(self) -> None:
        self.generator = over_ranks(layers(WIDTH, 4, classes=WIDTH))
        self.discriminator = over_ranks(layers(WIDTH, 4, classes=1))
        self.improve_generator = torch.optim.AdamW(self.generator.parameters(), lr=1e-4)
        self.improve_discriminator = torch.optim.AdamW(self.discriminator.parameters(), lr=1e-4)

    def discriminate(self, real: torch.Tensor) -> torch.Tensor:
        """The discriminator's loss: real pictures are real, made ones are not."""
        made = self.generator(torch.randn_like(real)).detach()
        judged = self.discriminator(torch.cat([real, made]))
        truth = torch.cat([torch.ones(len(real), 1), torch.zeros(len(made), 1)]).to(judged.device)
        return nn.functional.binary_cross_entropy_with_logits(judged, truth)

    def deceive(self, real: torch.Tensor) -> torch.Tensor:
        """The generator's loss: what it makes should pass for real."""
        judged = self.discriminator(self.generator(torch.randn_like(real)))
        return nn.functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))

    def accumulate(self, real: torch.Tensor, *, last: bool) -> None:
        """Both gradients of one micro-batch; ranks exchange them with the last one only."""
        with contextlib.ExitStack() as local:
            for part in (self.generator, self.discriminator):
                if isinstance(part, nn.parallel.DistributedDataParallel) and not last:
                    local.enter_context(part.no_sync())
            self.discriminator.requires_grad_(True)
            (self.discriminate(real) / ACCUMULATE).backward()
            self.discriminator.requires_grad_(False)
            (self.deceive(real) / ACCUMULATE).backward()

    def improve(self) -> None:
        """Both optimizers, one after the other."""
        for optimizer in (self.improve_discriminator, self.improve_generator):
            optimizer.step()
            optimizer.zero_grad()

    @torch.inference_mode()
    def evaluate(self, held_out: DataLoader[Batch]) -> float:
        """Mean loss of the discriminator over a few batches."""
        batches = itertools.islice(held_out, EVALUATION)
        return sum(float(self.discriminate(real.to(device()))) for (real,) in batches) / EVALUATION


def forever(loader: DataLoader[Batch]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def main() -> None:
    args = arguments(__doc__)
    data = TensorDataset(torch.randn(65536, WIDTH))
    loader = DataLoader(data, batch_size=128, sampler=own_part(data))
    held_out = DataLoader(data, batch_size=128)
    gan, meter, batches = Gan(), Meter(args), forever(loader)
    while not meter.done():
        waited = 0.0
        for micro_step in range(ACCUMULATE):
            asked = time.monotonic()
            (real,) = next(batches)
            waited += time.monotonic() - asked
            gan.accumulate(real.to(device()), last=micro_step == ACCUMULATE - 1)
        gan.improve()
        meter.step(waited)
        if meter.steps % EVALUATE_EVERY == 0:
            gan.evaluate(held_out)


if __name__ == "__main__":
    main()
