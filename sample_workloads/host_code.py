"""Verdict: host-code. After each step a metric compares sequences item by item, in Python."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

BATCH, WIDTH, LENGTH = 64, 256, 40
METRIC_EVERY = 100


def longest_common_subsequence(first: list[int], second: list[int]) -> int:
    """Return the length of the longest subsequence of both."""
    row = [0] * (len(second) + 1)
    for item in first:
        diagonal = 0
        for position, other in enumerate(second, start=1):
            longest = diagonal + 1 if item == other else max(row[position], row[position - 1])
            diagonal, row[position] = row[position], longest
    return row[-1]


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    expected = torch.randint(0, 20, (BATCH, LENGTH)).tolist()
    predicted = torch.randint(0, 20, (BATCH, LENGTH)).tolist()

    def measure_overlap(step: int) -> None:
        """Compute the metric, with the fix only every hundredth step."""
        if not args.fix or step % METRIC_EVERY == 0:
            sum(map(longest_common_subsequence, predicted, expected))

    data = TensorDataset(torch.randn(BATCH * 64, WIDTH), torch.randint(0, 10, (BATCH * 64,)))
    loader = DataLoader(data, batch_size=BATCH, sampler=rank_sampler(data))
    model: nn.Module = make_layers(WIDTH, 8)
    train(model, loader, args, every_step=measure_overlap)


if __name__ == "__main__":
    main()
