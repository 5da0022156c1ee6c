"""The learner polls the queue of the simulator and sleeps 50 ms whenever it is empty."""

import queue
import sys
import threading
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
BATCH, OBSERVATION = 64, 32
SIMULATION_S, POLL_S = 0.01, 0.05


class Simulator(threading.Thread):
    """Produces batches of experience; the sleep simulates an engine in another process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.batches: queue.Queue[torch.Tensor] = queue.Queue(maxsize=1)

    def run(self) -> None:
        while True:
            time.sleep(SIMULATION_S)
            self.batches.put(torch.randn(BATCH, OBSERVATION))


def next_batch(simulator: Simulator) -> torch.Tensor:
    """Return the next batch of experience."""
    if FIX:
        return simulator.batches.get()
    while simulator.batches.empty():
        time.sleep(POLL_S)
    return simulator.batches.get()


def main() -> None:
    torch.manual_seed(0)
    simulator = Simulator()
    simulator.start()
    critic = nn.Sequential(nn.Linear(OBSERVATION, 256), nn.Tanh(), nn.Linear(256, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        observations = next_batch(simulator)
        returns = observations.sum(dim=1, keepdim=True)
        loss = nn.functional.mse_loss(critic(observations), returns)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
