"""A training loop with every kind of child process.

Usage: `child_processes.py single|spawn WORKERS METHOD`.

`spawn` starts two ranks with mp.spawn; METHOD is the start method of the WORKERS loader workers.
Prints "ready" after the first step (single) or before the ranks are started (spawn).
"""

import os
import subprocess
import sys
import time

import torch
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, Dataset


class Waiting(Dataset):
    def __len__(self):
        return 1 << 30

    def __getitem__(self, index):
        time.sleep(0.002)
        return torch.zeros(8)


def train(rank, workers, method, ready):
    os.environ["RANK"], os.environ["WORLD_SIZE"] = str(rank), "2"
    torch.set_num_threads(1)
    method = None if method == "none" else method
    batches = iter(
        DataLoader(Waiting(), batch_size=4, num_workers=workers, multiprocessing_context=method)
    )
    model = torch.nn.Linear(8, 8)
    helper = (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]) if ready else None
    )
    while helper is None or helper.poll() is None:
        model(next(batches)).sum().backward()
        if ready:
            print("ready", flush=True)
            ready = False


if __name__ == "__main__":
    kind, workers, method = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if kind == "spawn":
        print("ready", flush=True)
        mp.spawn(train, args=(workers, method, False), nprocs=2)
    else:
        train(0, workers, method, True)
