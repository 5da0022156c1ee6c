"""Steps of half a minute: long rollouts in a simulator in Python, then a short update."""

import math
import random
import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ENVIRONMENTS, ROLLOUT, JOINTS, SUBSTEPS = 64, 8000, 6, 40
DT, GRAVITY = 0.01, 9.81


class Arm:
    """A robot arm, integrated number by number."""

    def __init__(self) -> None:
        self.angles = [random.random() for _ in range(JOINTS)]
        self.speeds = [0.0] * JOINTS

    def advance(self, torques: list[float]) -> list[float]:
        """Apply torques for one control period; return the observation."""
        for _ in range(SUBSTEPS):
            for joint, torque in enumerate(torques):
                pull = GRAVITY * math.sin(self.angles[joint])
                self.speeds[joint] = 0.999 * self.speeds[joint] + DT * (torque - pull)
                self.angles[joint] += DT * self.speeds[joint]
        return self.angles + self.speeds


class ArmBatch:
    """All arms at once, as tensors."""

    def __init__(self) -> None:
        self.angles = torch.rand(ENVIRONMENTS, JOINTS)
        self.speeds = torch.zeros(ENVIRONMENTS, JOINTS)

    def advance(self, torques: torch.Tensor) -> torch.Tensor:
        """Apply torques for one control period; return the observations."""
        for _ in range(SUBSTEPS):
            self.speeds.mul_(0.999).add_(torques - GRAVITY * self.angles.sin(), alpha=DT)
            self.angles.add_(self.speeds, alpha=DT)
        return torch.cat([self.angles, self.speeds], dim=1)


@torch.no_grad()
def collect(policy: nn.Module) -> torch.Tensor:
    """Return the observations of one rollout of all arms."""
    arms, batch = [Arm() for _ in range(ENVIRONMENTS)], ArmBatch()
    observed = [torch.zeros(ENVIRONMENTS, 2 * JOINTS)]
    for _ in range(ROLLOUT):
        torques = policy(observed[-1])
        if FIX:
            observed.append(batch.advance(torques))
        else:
            rows = [arm.advance(row) for arm, row in zip(arms, torques.tolist(), strict=True)]
            observed.append(torch.tensor(rows))
    return torch.cat(observed)


def main() -> None:
    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(2 * JOINTS, 64), nn.Tanh(), nn.Linear(64, JOINTS))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        observations = collect(policy)
        for batch in observations.split(512):
            policy(batch).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
