"""Jobs with steps of 5 to 40 seconds that do not hang."""

import os
import subprocess
import sys
import threading
import time

import torch
from steps import announce, train
from torch.utils.data import DataLoader, Dataset

VARIANT = sys.argv[1]
FOREVER = 10**6


def compute(seconds: float) -> None:
    weights, until = torch.randn(512, 512), time.monotonic() + seconds
    while time.monotonic() < until:
        weights @ weights


def compute_in_python(seconds: float) -> None:
    until, total = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        total += 1


def in_command(seconds: float) -> None:
    loop = f"import time; u = time.monotonic() + {seconds}\nwhile time.monotonic() < u: pass"
    subprocess.run([sys.executable, "-c", loop], check=True)


def in_thread(seconds: float) -> None:
    thread = threading.Thread(target=compute, args=(seconds,))
    thread.start()
    thread.join()


def write_checkpoint(seconds: float) -> None:
    until = time.monotonic() + seconds
    with open(os.devnull, "wb") as file:
        while time.monotonic() < until:
            file.write(bytes(1 << 20))
            time.sleep(0.2)


class SlowSamples(Dataset[torch.Tensor]):
    """Samples that take long to make."""

    def __len__(self) -> int:
        return FOREVER

    def __getitem__(self, index: int) -> torch.Tensor:
        compute_in_python(20.0)
        return torch.randn(16)


def from_worker(seconds: float) -> None:
    for _ in DataLoader(SlowSamples(), num_workers=1):
        train(1)


STEPS = {
    "products-of-5-s": (compute, 5.0),
    "products-of-40-s": (compute, 40.0),
    "python-of-10-s": (compute_in_python, 10.0),
    "python-of-30-s": (compute_in_python, 30.0),
    "command-of-20-s": (in_command, 20.0),
    "thread-of-25-s": (in_thread, 25.0),
    "sleep-of-8-s": (time.sleep, 8.0),
    "sleep-of-40-s": (time.sleep, 40.0),
    "checkpoint-of-15-s": (write_checkpoint, 15.0),
    "worker-of-20-s": (from_worker, 20.0),
}
work, seconds = STEPS[VARIANT]
announce()
while True:
    train(1)
    work(seconds)
