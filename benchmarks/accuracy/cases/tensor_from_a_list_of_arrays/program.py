"""A batch of frames becomes a tensor with `torch.tensor(list of arrays)`, number by number."""

import sys
import time

import numpy as np
import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FRAMES, HEIGHT, WIDTH, BATCH = 4000, 42, 42, 32


class ReplayBuffer:
    """Frames of a game with the reward that followed."""

    def __init__(self) -> None:
        numbers = np.random.default_rng(0)
        self.frames = [numbers.random((HEIGHT, WIDTH), dtype=np.float32) for _ in range(FRAMES)]
        self.rewards = numbers.random(FRAMES, dtype=np.float32)
        self.numbers = numbers

    def sample(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a random batch of frames and rewards."""
        chosen = self.numbers.integers(0, FRAMES, BATCH)
        frames = [self.frames[index] for index in chosen]
        if FIX:
            return torch.from_numpy(np.stack(frames)), torch.from_numpy(self.rewards[chosen])
        return torch.tensor(frames), torch.tensor(self.rewards[chosen])


def main() -> None:
    torch.manual_seed(0)
    buffer = ReplayBuffer()
    critic = nn.Sequential(nn.Flatten(), nn.Linear(HEIGHT * WIDTH, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        frames, rewards = buffer.sample()
        loss = nn.functional.mse_loss(critic(frames).squeeze(1), rewards)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
