"""Jobs of two ranks of which one does not come to a collective."""

import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist
from steps import MODEL, announce
from torch.nn.parallel import DistributedDataParallel

VARIANT = sys.argv[1]
LONG_S = 1000.0
STEPS = 20


def train_on(batches: int) -> None:
    model = DistributedDataParallel(MODEL)
    for _ in range(batches):
        model(torch.randn(8, 16)).square().mean().backward()


def evaluate() -> None:
    time.sleep(LONG_S)  # hangs: fewer-batches


def save_checkpoint() -> None:
    time.sleep(LONG_S)  # hangs: rank-sleeps


def read_labels() -> None:
    path = os.path.join(tempfile.mkdtemp(), "labels.txt")
    os.mkfifo(path)
    with open(path) as labels:  # hangs: rank-reads-a-file
        labels.read()


def average(value: float) -> None:
    dist.all_reduce(torch.tensor(value))


dist.init_process_group("gloo")
rank = dist.get_rank()
if rank == 0:
    announce()
if VARIANT == "fewer-batches":
    train_on(STEPS + 10 * (1 - rank))
    evaluate()
elif VARIANT == "rank-sleeps":
    train_on(STEPS)
    if rank == 1:
        save_checkpoint()
    dist.barrier()
elif VARIANT == "rank-reads-a-file":
    train_on(STEPS)
    if rank == 1:
        read_labels()
    dist.barrier()
elif VARIANT == "rank-reads-input":
    train_on(STEPS)
    if rank == 1:
        torch.multiprocessing.SimpleQueue().get()  # hangs: rank-reads-input
    average(1.0)
else:
    train_on(STEPS)
    if rank == 1:
        dist.recv(torch.zeros(4), src=0)  # hangs: receive-without-send
    dist.barrier()
