"""Sentences of about 20 tokens are padded to the 256 tokens that the model allows at most."""

import random
import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
VOCABULARY, WIDTH, LONGEST, BATCH = 1000, 64, 256, 8
PADDING = 0


class Classifier(nn.Module):
    """A transformer over tokens that ignores padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=PADDING)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 256, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        padded = tokens == PADDING
        hidden = self.encoder(self.embedding(tokens), src_key_padding_mask=padded)
        return self.head(hidden[:, 0])


def draw_sentences() -> list[list[int]]:
    """Return sentences of typical lengths."""
    lengths = [min(LONGEST, 5 + int(random.expovariate(1 / 15))) for _ in range(BATCH)]
    return [[random.randrange(1, VOCABULARY) for _ in range(length)] for length in lengths]


def pad(sentences: list[list[int]]) -> torch.Tensor:
    """Return the sentences as one tensor."""
    length = max(map(len, sentences)) if FIX else LONGEST
    rows = [sentence + [PADDING] * (length - len(sentence)) for sentence in sentences]
    return torch.tensor(rows)


def main() -> None:
    torch.manual_seed(0)
    random.seed(0)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        tokens = pad(draw_sentences())
        loss = nn.functional.cross_entropy(model(tokens), tokens[:, 0] % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
