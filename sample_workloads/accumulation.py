"""ill: healthy. Gradient accumulation, two optimizers and an evaluation now and then: one step a round all the same."""

import time

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import Meter, arguments, classify, device, layers

ACCUMULATE, EVALUATE_EVERY, EVALUATE = 4, 50, 10


def main() -> None:
    args = arguments(__doc__, workers=1)
    body, head = layers(256, 5, 256).to(device()), layers(256, 1).to(device())
    model = torch.nn.Sequential(body, head)
    optimizers = [torch.optim.AdamW(part.parameters(), lr=1e-4) for part in (body, head)]
    data = TensorDataset(torch.randn(65536, 256), torch.randint(0, 10, (65536,)))
    training = DataLoader(data, batch_size=64, num_workers=args.workers, persistent_workers=True)
    held_out = DataLoader(data, batch_size=256)
    meter, number, waited = Meter(args), 0, 0.0
    while not meter.done():
        asked = time.monotonic()
        for batch in training:
            waited += time.monotonic() - asked
            (classify(model, [part.to(device()) for part in batch]) / ACCUMULATE).backward()
            number += 1
            if number % ACCUMULATE == 0:
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
                meter.step(waited)
                waited = 0.0
                if meter.steps % EVALUATE_EVERY == 0:
                    evaluate(model, held_out)
            if meter.done():
                break
            asked = time.monotonic()


def evaluate(model: torch.nn.Module, held_out: DataLoader[tuple[torch.Tensor, ...]]) -> None:
    """A few batches without gradients."""
    model.eval()
    with torch.inference_mode():
        for number, batch in enumerate(held_out):
            classify(model, [part.to(device()) for part in batch])
            if number == EVALUATE:
                break
    model.train()


if __name__ == "__main__":
    main()
