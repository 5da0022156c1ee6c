"""Verdict: input-bound/too-few-workers. One worker loads from a remote store; the device waits."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader

from sample_workloads.device.training_on_device import Prefetcher, train_on_device, width_of_layers
from sample_workloads.images import SMALL, WIDTH, RemoteImages, open_store
from sample_workloads.training import Meter, device, make_layers, parse_arguments

BATCH, LATENCY_S, DEPTH = 8, 0.02, 1
FIXED_WORKERS = 6


class WideClassifier(nn.Module):
    """Layers as wide as the device needs, and as many rows."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(WIDTH, width)
        self.layers = make_layers(width, depth)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.first(images).repeat(max(1, self.width // len(images)), 1)
        scores: torch.Tensor = self.layers(rows)
        return scores[: len(images)]


def load_and_train(args: argparse.Namespace, workers: int, *, latency_s: float, depth: int) -> None:
    """Train on images of a store with this latency, copied ahead of time."""
    loader = DataLoader(
        RemoteImages(open_store(SMALL, latency_s), SMALL),
        batch_size=BATCH,
        num_workers=workers,
        pin_memory=device().type != "cpu",
    )
    model = WideClassifier(width_of_layers(), depth).to(device())
    train_on_device(model, Prefetcher(loader), Meter(args))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=1)
    workers = FIXED_WORKERS if args.fix else args.workers
    load_and_train(args, workers, latency_s=LATENCY_S, depth=DEPTH)


if __name__ == "__main__":
    main()
