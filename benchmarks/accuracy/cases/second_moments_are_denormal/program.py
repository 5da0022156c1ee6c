"""Energies in joules give gradients of 1e-19: Adam takes square roots of denormal numbers."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ELECTRONVOLT_J = 1.602e-19
UNIT = 1.0 if FIX else ELECTRONVOLT_J
ATOMS, WIDTH, BATCH = 64, 1024, 16


class EnergyModel(nn.Module):
    """Predicts the energy of a molecule from the distances of its atoms."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(ATOMS, WIDTH), nn.Tanh()),
            *(nn.Linear(WIDTH, WIDTH), nn.Tanh()),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, distances: torch.Tensor) -> torch.Tensor:
        return self.layers(distances) * UNIT


def main() -> None:
    torch.manual_seed(0)
    model = EnergyModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8 * UNIT)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        distances = torch.rand(BATCH, ATOMS)
        energies = distances.square().mean(dim=1, keepdim=True) * UNIT
        loss = nn.functional.l1_loss(model(distances), energies)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
