"""Verdict: padding-waste. Sentences of about 20 tokens are padded to a fixed width of 192."""

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from sample_workloads.training import parse_arguments, train

VOCABULARY, WIDTH, LONGEST, PADDING = 1000, 64, 192, 0
SENTENCES, BATCH = 2048, 16


class SentenceClassifier(nn.Module):
    """A transformer over tokens that ignores padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=PADDING)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scores of both classes."""
        hidden = self.encoder(self.embedding(tokens), src_key_padding_mask=tokens == PADDING)
        return self.head(hidden[:, 0])


def draw_sentences() -> list[torch.Tensor]:
    """Return sentences of different lengths."""
    chosen = random.Random(0)
    lengths = [min(LONGEST, 5 + int(chosen.expovariate(1 / 15))) for _ in range(SENTENCES)]
    return [torch.randint(1, VOCABULARY, (length,)) for length in lengths]


def make_collate(*, fixed: bool) -> Callable[[list[torch.Tensor]], tuple[torch.Tensor, ...]]:
    """Return a function that pads sentences to a fixed width, or to the longest of them."""

    def collate(sentences: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        width = LONGEST if fixed else max(map(len, sentences))
        tokens = torch.full((len(sentences), width), PADDING)
        for row, sentence in zip(tokens, sentences, strict=True):
            row[: len(sentence)] = sentence
        return tokens, tokens[:, 0] % 2

    return collate


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    collate = make_collate(fixed=not args.fix)
    loader: DataLoader[Any] = DataLoader(draw_sentences(), BATCH, shuffle=True, collate_fn=collate)
    train(SentenceClassifier(), loader, args)


if __name__ == "__main__":
    main()
