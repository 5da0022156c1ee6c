"""The word error rate of a speech model is computed every step, in nested Python loops."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
BATCH, FRAMES, FEATURES, TOKENS, WORDS = 8, 120, 40, 30, 40
LOG_EVERY = 100 if FIX else 1


def edit_distance(predicted: list[int], spoken: list[int]) -> int:
    """Return the number of insertions, deletions and substitutions."""
    row = list(range(len(spoken) + 1))
    for position, word in enumerate(predicted, start=1):
        previous, row[0] = row[0], position
        for column, other in enumerate(spoken, start=1):
            cheapest = min(row[column] + 1, row[column - 1] + 1, previous + (word != other))
            previous, row[column] = row[column], cheapest
    return row[-1]


def word_error_rate(logits: torch.Tensor, spoken: torch.Tensor) -> float:
    """Return the share of wrong words of a batch, decoded greedily."""
    decoded = logits.argmax(dim=2).T.tolist()
    pairs = zip(decoded, spoken.tolist(), strict=True)
    errors = [edit_distance(predicted, words) for predicted, words in pairs]
    return sum(errors) / spoken.numel()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, TOKENS))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    lengths = torch.full((BATCH,), FRAMES), torch.full((BATCH,), WORDS)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        spoken = torch.randint(1, TOKENS, (BATCH, WORDS))
        logits = model(torch.randn(FRAMES, BATCH, FEATURES))
        loss = nn.functional.ctc_loss(logits.log_softmax(dim=2), spoken, *lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if steps % LOG_EVERY == 0:
            print(f"step {steps}: word error rate {word_error_rate(logits, spoken):.2f}")
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
