"""Verdict: validation-time. The validation set is evaluated every 20 steps, from slow storage."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from sample_workloads.images import WIDTH, RemoteImages, open_store
from sample_workloads.training import (
    classify,
    device,
    make_layers,
    parse_arguments,
    rank_sampler,
    train,
)

SIDE = 64
LATENCY_S = 0.001
VALIDATION_IMAGES = 512


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=1)
    steps_between = 2000 if args.fix else 20
    data = TensorDataset(torch.randn(50_000, WIDTH), torch.randint(0, 10, (50_000,)))
    loader = DataLoader(
        data,
        batch_size=64,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    images = RemoteImages(open_store(SIDE, LATENCY_S), SIDE)
    validation_loader = DataLoader(Subset(images, range(VALIDATION_IMAGES)), batch_size=16)
    model = make_layers(WIDTH, 3)

    def validate_sometimes(step: int) -> None:
        if step % steps_between == steps_between - 1:
            evaluate(model, validation_loader)

    train(model, loader, args, every_step=validate_sometimes)


def evaluate(model: nn.Module, validation_loader: DataLoader[tuple[torch.Tensor, ...]]) -> float:
    """Return the mean loss over the validation set."""
    model.eval()
    losses = []
    with torch.no_grad():
        for batch in validation_loader:
            losses.append(classify(model, [part.to(device()) for part in batch]).item())
    model.train()
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main()
