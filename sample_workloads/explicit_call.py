"""Verdict: explicit-call. gc.collect() every four steps, over a large vocabulary."""

import gc

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

PERIOD, FIXED_PERIOD = 4, 1000


class Token:
    """A word with references to its neighbors, which refer back to it."""

    def __init__(self, number: int) -> None:
        self.text = f"token {number}"
        self.neighbors: list[Token] = []


def read_vocabulary(size: int = 30_000) -> list[Token]:
    """Return tokens that refer to each other in cycles."""
    tokens = [Token(number) for number in range(size)]
    for number, token in enumerate(tokens):
        token.neighbors = [tokens[number - 1], tokens[(number + 1) % size]]
    return tokens


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    vocabulary = read_vocabulary()
    if args.fix:
        gc.collect()
        # Later collections skip all objects that exist now.
        gc.freeze()

    period = FIXED_PERIOD if args.fix else PERIOD

    def collect(step: int) -> None:
        """Collect garbage if it is due after this step."""
        if step % period == 0 and vocabulary:
            gc.collect()

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(
        make_layers(512, 12),
        DataLoader(data, batch_size=128, sampler=rank_sampler(data)),
        args,
        every_step=collect,
    )


if __name__ == "__main__":
    main()
