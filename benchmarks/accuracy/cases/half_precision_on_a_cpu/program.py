"""A script written for a GPU converts the model to float16; this CPU has no float16 arithmetic."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
TOKENS, WIDTH, LAYERS = 64, 256, 2


def make_encoder() -> nn.Module:
    """Return the encoder, ready for inference."""
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    return encoder if FIX else encoder.half()


@torch.no_grad()
def embed(encoder: nn.Module, sentences: torch.Tensor) -> torch.Tensor:
    """Return one vector per sentence."""
    dtype = next(encoder.parameters()).dtype
    return encoder(sentences.to(dtype)).mean(dim=1).float()


def main() -> None:
    torch.manual_seed(0)
    encoder = make_encoder()
    head = nn.Linear(WIDTH, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        features = embed(encoder, torch.randn(8, TOKENS, WIDTH))
        loss = nn.functional.cross_entropy(head(features), torch.randint(0, 2, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
