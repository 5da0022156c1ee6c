"""Verdict: recompilation. Batches of sentences have a new length each time, and shapes are static.

Every step compiles the model for the length of its batch.
"""

import itertools
from collections.abc import Iterator

import torch
import torch._dynamo
from torch import nn

from sample_workloads.training import parse_arguments, train

WIDTH, SENTENCES = 64, 8


def sentences() -> Iterator[list[torch.Tensor]]:
    """Yield batches of sentences as vectors; each batch is one word longer than the last."""
    for length in itertools.count(20):
        inputs = torch.randn(SENTENCES, 20 + length % 400, WIDTH)
        yield [inputs, torch.randint(0, 10, (SENTENCES,))]


class Classifier(nn.Module):
    """An encoder and the mean over the words."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 4, 128, batch_first=True)
        self.classes = nn.Linear(WIDTH, 10)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes."""
        scores: torch.Tensor = self.classes(self.encoder(words).mean(1))
        return scores


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    torch._dynamo.config.recompile_limit = 10**6
    torch._dynamo.config.accumulated_recompile_limit = 10**6
    model = Classifier()
    model.compile(backend="eager", dynamic=args.fix)
    train(model, sentences(), args)


if __name__ == "__main__":
    main()
