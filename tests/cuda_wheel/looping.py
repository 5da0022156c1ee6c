"""A training loop that comes to use CUDA: `looping.py OUT SECONDS`. Kineto then requests CUPTI, and
without a driver gets none.

For so many seconds it says that CUDA is not initialized, as a program does that still loads its
model.
"""

import sys
import time

import torch

BEGAN = time.monotonic()
torch.cuda.is_initialized = lambda: time.monotonic() - BEGAN >= float(sys.argv[2])


def main() -> None:
    torch.set_num_threads(1)
    model = torch.nn.Linear(32, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with open(sys.argv[1], "w", buffering=1) as lines:
        while True:
            optimizer.zero_grad()
            model(torch.randn(4, 32)).sum().backward()
            optimizer.step()
            time.sleep(0.005)
            lines.write("step\n")


if __name__ == "__main__":
    main()
