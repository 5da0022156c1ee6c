"""The agent waits after each action for a simulator that runs in another process."""

import multiprocessing
import multiprocessing.connection
import random
import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
SIMULATION_S, STATES = 0.008, 24


def simulate(link: multiprocessing.connection.Connection) -> None:
    """Answer each action with a state and a reward; the sleep simulates physics."""
    state = [0.0] * STATES
    while True:
        action = link.recv()
        time.sleep(SIMULATION_S / 10 if FIX else SIMULATION_S)
        state = [0.9 * value + 0.01 * action + random.gauss(0.0, 0.1) for value in state]
        link.send((state, sum(state)))


class Simulator:
    """The connection to the process of the simulator."""

    def __init__(self) -> None:
        self.link, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=simulate, args=(there,), daemon=True)
        process.start()

    def act(self, action: int) -> tuple[torch.Tensor, float]:
        """Return the state and the reward after an action."""
        self.link.send(action)
        state, reward = self.link.recv()
        return torch.tensor(state), reward


def main() -> None:
    simulator = Simulator()
    policy = nn.Sequential(nn.Linear(STATES, 128), nn.Tanh(), nn.Linear(128, 5))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    state = torch.zeros(STATES)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        choice = torch.distributions.Categorical(logits=policy(state))
        action = choice.sample()
        state, reward = simulator.act(int(action))
        loss = -choice.log_prob(action) * reward
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
