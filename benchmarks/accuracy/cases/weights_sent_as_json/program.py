"""After each step the weights are sent to the actors as JSON lists of numbers."""

import io
import json
import socket
import sys
import threading
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv


class ActorLink:
    """A connection to the process that plays; a thread that reads everything simulates it."""

    def __init__(self) -> None:
        self.learner, actor = socket.socketpair()
        threading.Thread(target=self.read_all, args=(actor,), daemon=True).start()

    @staticmethod
    def read_all(actor: socket.socket) -> None:
        while actor.recv(1 << 20):
            pass

    def send(self, model: nn.Module) -> None:
        """Send the weights as text."""
        lists = {name: value.tolist() for name, value in model.state_dict().items()}
        text = json.dumps(lists)
        self.learner.sendall(text.encode())

    def send_bytes(self, model: nn.Module) -> None:
        """Send the weights as bytes."""
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        self.learner.sendall(buffer.getbuffer())


def main() -> None:
    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Linear(128, 6))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    actor = ActorLink()
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        logits = policy(torch.randn(512, 64))
        loss = nn.functional.cross_entropy(logits, torch.randint(0, 6, (512,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if FIX:
            actor.send_bytes(policy)
        else:
            actor.send(policy)
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
