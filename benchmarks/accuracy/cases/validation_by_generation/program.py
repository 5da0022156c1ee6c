"""Every 30 steps the model generates text for the whole validation set, token by token."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
VOCABULARY, WIDTH, LENGTH, BATCH, PROMPTS = 200, 96, 32, 16, 40
EVALUATE_EVERY = 2000 if FIX else 30


class LanguageModel(nn.Module):
    """A recurrent language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.recurrent = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.recurrent(self.embedding(tokens))
        return self.head(hidden)


@torch.no_grad()
def generate(model: LanguageModel, prompt: torch.Tensor) -> torch.Tensor:
    """Return the prompt with the most likely tokens after it; nothing is cached."""
    tokens = prompt
    while tokens.shape[1] < LENGTH:
        likely = model(tokens)[:, -1:].argmax(dim=2)
        tokens = torch.cat([tokens, likely], dim=1)
    return tokens


def evaluate(model: LanguageModel) -> float:
    """Return the share of distinct tokens in the generated texts."""
    model.eval()
    prompts = torch.randint(0, VOCABULARY, (PROMPTS, 1, 4))
    texts = [generate(model, prompt) for prompt in prompts]
    model.train()
    return len(torch.cat(texts).unique()) / VOCABULARY


def main() -> None:
    torch.manual_seed(0)
    model = LanguageModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1))
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if steps % EVALUATE_EVERY == 0:
            print(f"step {steps}: {evaluate(model):.3f} of the vocabulary used")
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
