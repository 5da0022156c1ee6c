"""Every layer recomputes its activations in the backward pass, although memory is not short."""

import sys
import time

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
TOKENS, WIDTH, LAYERS = 64, 192, 6


class Encoder(nn.Module):
    """A transformer encoder with checkpointed layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True, dropout=0.0)
            for _ in range(LAYERS)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = tokens
        for layer in self.layers:
            if FIX:
                hidden = layer(hidden)
            else:
                hidden = checkpoint(layer, hidden, use_reentrant=False)
        return hidden


def main() -> None:
    torch.manual_seed(0)
    encoder = Encoder()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-4)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        loss = encoder(torch.randn(8, TOKENS, WIDTH)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
