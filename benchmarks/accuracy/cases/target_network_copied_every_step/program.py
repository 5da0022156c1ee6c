"""The target network of an agent is made by copy.deepcopy after each update."""

import copy
import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WIDTH, STATES, ACTIONS, BATCH = 1500, 80, 6, 4
COPY_EVERY = 200 if FIX else 1


class Agent:
    """A network, and a target network that follows it."""

    def __init__(self) -> None:
        self.online = nn.Sequential(
            *(nn.Linear(STATES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            nn.Linear(WIDTH, ACTIONS),
        )
        self.target = copy.deepcopy(self.online)
        self.optimizer = torch.optim.SGD(self.online.parameters(), lr=1e-4)

    def update(self, number: int) -> None:
        """Make one update."""
        now, following = torch.randn(BATCH, STATES), torch.randn(BATCH, STATES)
        with torch.no_grad():
            wanted = 0.99 * self.target(following).max(1).values
        loss = nn.functional.mse_loss(self.online(now).max(1).values, wanted)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if number % COPY_EVERY == 0:
            self.target = copy.deepcopy(self.online)


def main() -> None:
    torch.manual_seed(0)
    agent, steps, began = Agent(), 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        agent.update(steps)
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
