"""Verdict: healthy + memory-growth. Scores are kept for a plot, each with its autograd graph."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import classify, make_layers, parse_arguments, rank_sampler, train

PLOTTED = 2


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    history: list[torch.Tensor] = []

    def classify_and_keep_score(model: torch.nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return the loss, and keep a score for the plot."""
        score = model(batch[0][:PLOTTED]).mean()
        history.append(score.detach() if args.fix else score)
        return classify(model, batch)

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=128, sampler=rank_sampler(data))
    train(make_layers(512, 12), loader, args, learn=classify_and_keep_score)


if __name__ == "__main__":
    main()
