"""Jobs whose loader has a worker that does not move."""

import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from steps import announce, train
from torch.utils.data import DataLoader, IterableDataset

VARIANT = sys.argv[1]
LONG_S = 1000.0


def fetch() -> None:
    announce()
    if VARIANT == "worker-sleeps":
        time.sleep(LONG_S)  # hangs: worker-sleeps
    elif VARIANT == "worker-runs-a-command":
        subprocess.run(["sleep", "1000"], check=True)  # hangs: worker-runs-a-command
    elif VARIANT == "worker-receives":
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        client.recv(1 << 16)  # hangs: worker-receives
    elif VARIANT == "worker-reads-a-queue":
        queue.Queue[int]().get()  # hangs: worker-reads-a-queue
    else:
        os.kill(os.getpid(), signal.SIGSTOP)  # hangs: worker-is-stopped


class Stream(IterableDataset[torch.Tensor]):
    """A stream that stops to yield samples."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(40):
            yield torch.randn(16)
        fetch()


train()
for _ in DataLoader(Stream(), batch_size=4, num_workers=1):
    train(1)
