"""Verdict: periodic-slow-steps. Histograms of all weights are made every 25 steps."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

WIDTH, DEPTH, BATCH = 512, 6, 128
BINS = 64
PERIOD, FIXED_PERIOD = 25, 1000


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    model = make_layers(WIDTH, DEPTH)
    period = FIXED_PERIOD if args.fix else PERIOD
    histograms: list[list[float]] = []

    def make_histograms(step: int) -> None:
        """Replace the histograms if they are due after this step."""
        if step % period == 0:
            histograms.clear()
            for weights in model.parameters():
                ordered = weights.detach().flatten().sort().values
                edges = torch.linspace(float(ordered[0]), float(ordered[-1]), BINS)
                histograms.append(torch.searchsorted(ordered, edges).tolist())

    data = TensorDataset(torch.randn(8192, WIDTH), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=BATCH, sampler=rank_sampler(data))
    train(model, loader, args, every_step=make_histograms)


if __name__ == "__main__":
    main()
