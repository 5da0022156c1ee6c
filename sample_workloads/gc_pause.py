"""ill: gc-pause. gc.collect() after every few steps, over a large vocabulary that never changes."""

import gc

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, own_part, train

TIDY_EVERY = 4
TIDY_SELDOM = 1000


class Token:
    """A word that knows its neighbours, and they know it."""

    def __init__(self, number: int) -> None:
        self.text = f"token {number}"
        self.neighbours: list[Token] = []


def read_vocabulary(size: int = 30_000) -> list[Token]:
    """Tokens that refer to each other in circles."""
    tokens = [Token(number) for number in range(size)]
    for number, token in enumerate(tokens):
        token.neighbours = [tokens[number - 1], tokens[(number + 1) % size]]
    return tokens


def main() -> None:
    args = arguments(__doc__)
    vocabulary = read_vocabulary()
    if args.fix:
        gc.collect()
        gc.freeze()  # what is there now is never looked at again

    every = TIDY_SELDOM if args.fix else TIDY_EVERY

    def tidy_up(step: int) -> None:
        if step % every == 0 and vocabulary:
            gc.collect()

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(
        layers(512, 12),
        DataLoader(data, batch_size=128, sampler=own_part(data)),
        args,
        every_step=tidy_up,
    )


if __name__ == "__main__":
    main()
