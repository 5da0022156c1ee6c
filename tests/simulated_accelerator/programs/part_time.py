"""Keeps the device busy for a part of the time: in each step, one kernel of a known time."""

import os
import sys
import time

import torch

STEP_S = 0.02
WORDS = 1 << 17


def main() -> None:
    """Run for a minute."""
    share = float(sys.argv[1])
    tensor = torch.ones(WORDS, device="sim")
    parameter = torch.zeros(1, device="sim", requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    bandwidth = 1e9 * float(os.environ["SIM_GBPS"])
    kernel_s = 2 * 4 * WORDS / bandwidth  # read and written
    for _ in range(int(60 / STEP_S)):
        began = time.monotonic()
        tensor * 1.0
        torch.accelerator.synchronize()
        optimizer.step()
        time.sleep(max(0.0, kernel_s / share - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
