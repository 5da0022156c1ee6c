"""What the servers compute: a score for each row of tokens, by a small transformer."""

import time

import torch
from torch import nn

VOCABULARY, WIDTH, TOKENS = 1000, 64, 16


class Scorer(nn.Module):
    """A transformer encoder with random weights that returns a score per row of tokens."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scores of rows of tokens."""
        return self.head(self.encoder(self.embedding(tokens)).mean(1)).squeeze(1)


class WaitingScorer(nn.Module):
    """A model whose host only waits, as for a device: `base_ms`, and a tenth of it per request."""

    def __init__(self, base_ms: float) -> None:
        super().__init__()
        self.base_s = base_ms / 1e3

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Wait, and return a score per row."""
        time.sleep(self.base_s * (1.0 + 0.1 * len(tokens)))
        return tokens.float().mean(1)


def make_model(layers: int) -> nn.Module:
    """Return the model, ready for inference."""
    torch.manual_seed(0)
    return Scorer(layers).eval()


def score_rows(model: nn.Module, rows: list[list[int]]) -> list[float]:
    """Return the scores of some requests, computed as one batch."""
    with torch.inference_mode():
        scores: list[float] = model(torch.tensor(rows)).tolist()
    return scores


def seconds_per_batch(model: nn.Module, size: int, repeats: int = 30) -> float:
    """Return how long a batch of this size takes at least on this machine, in seconds."""
    rows = [[(7 * row + 3 * place) % VOCABULARY for place in range(TOKENS)] for row in range(size)]
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        score_rows(model, rows)
        times.append(time.perf_counter() - began)
    return min(times)
