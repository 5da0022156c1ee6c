"""Reinforcement learning on the CPU: an environment in Python, a policy asked at every step of it,
an update per episode.
"""

import math

import torch
from observed import PERIOD, Observed, Training, arguments, seeded

MOVES = 16


class Cart:
    """A pole on a cart, in plain floats."""

    def reset(self):
        self.place, self.speed, self.angle, self.turn = 0.0, 0.0, 0.02, 0.0
        return self.view()

    def view(self):
        return [self.place, self.speed, self.angle, self.turn]

    def move(self, action):
        force = 10.0 if action else -10.0
        sine, cosine = math.sin(self.angle), math.cos(self.angle)
        push = (force + 0.05 * self.turn**2 * sine) / 1.1
        bend = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
        self.place += 0.02 * self.speed
        self.speed += 0.02 * (push - 0.05 * bend * cosine / 1.1)
        self.angle += 0.02 * self.turn
        self.turn += 0.02 * bend
        return self.view(), 1.0 - abs(self.angle)


class Policy(Training):
    """Two actions from four numbers."""

    def __init__(self):
        super().__init__(width=64, depth=2)
        self.cart = Cart()

    def episode(self, number):
        """Play MOVES moves and learn from them; the loss."""
        self.begin(number)
        chance, view = seeded(number), self.cart.reset()
        logs, rewards = [], []
        for _ in range(MOVES):
            odds = torch.softmax(self.model(torch.tensor(view).repeat(self.width // 4))[:2], 0)
            action = int(torch.rand((), generator=chance) < odds[1].detach())
            view, reward = self.cart.move(action)
            logs.append(torch.log(odds[action]))
            rewards.append(reward)
        returns = torch.tensor([sum(rewards[at:]) for at in range(MOVES)])
        loss = -(torch.stack(logs) * (returns - returns.mean())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


def main():
    out, steps = arguments()
    policy, observed = Policy(), Observed(out)
    while observed.step < steps:
        observed.done(policy.episode(observed.step % PERIOD))


if __name__ == "__main__":
    main()
