"""A training loop whose signal handlers raise: `interrupted.py OUT`.

SIGTERM raises Preempted, SIGINT raises KeyboardInterrupt. The loop catches both, writes `caught
NAME` to OUT, and continues.
"""

import signal
import sys
from typing import Any

import torch
from looping import Mapped
from torch.utils.data import DataLoader


class Preempted(Exception):
    """What this program's SIGTERM handler raises."""


def preempted(*_: Any) -> None:
    raise Preempted


def main() -> None:
    signal.signal(signal.SIGTERM, preempted)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    model = torch.nn.Linear(32, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with open(sys.argv[1], "w", buffering=1) as lines:
        while True:
            try:
                for images, labels in DataLoader(Mapped(), batch_size=2, num_workers=0):
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(model(images), labels).backward()
                    optimizer.step()
                    lines.write("step\n")
            except (Preempted, KeyboardInterrupt) as caught:
                lines.write(f"caught {type(caught).__name__}\n")


if __name__ == "__main__":
    main()
