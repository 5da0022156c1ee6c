"""Four threads that run small operators without a pause: `four_threads.py OUT`.

The main thread writes one line per hundred rounds to OUT.
"""

import sys
import threading

import torch

THREADS = 4


def work(out: str | None) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, foreach=False)
    rounds = 0
    with open(out or "/dev/null", "w", buffering=1) as lines:
        while True:
            optimizer.zero_grad()
            model(torch.randn(8, 16)).square().mean().backward()
            optimizer.step()
            rounds += 1
            if not rounds % 100:
                lines.write(f"{rounds}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for _ in range(THREADS - 1):
        threading.Thread(target=work, args=(None,), daemon=True).start()
    work(sys.argv[1])
