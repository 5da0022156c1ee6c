"""Verdict: blocking-call. Each step reports its loss to a slow server and waits for the answer."""

import socket
import threading
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

BATCH, WIDTH = 64, 256
ANSWER_S = 0.02
REPORT_EVERY = 100


def answer_slowly(server: socket.socket) -> None:
    """Answer each message after a while, as a server far away does."""
    while server.recv(64):
        time.sleep(ANSWER_S)
        server.sendall(b"ok")


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    client, server = socket.socketpair()
    threading.Thread(target=answer_slowly, args=(server,), daemon=True).start()

    def report(step: int) -> None:
        """Report the step, with the fix only every hundredth."""
        if not args.fix or step % REPORT_EVERY == 0:
            client.sendall(b"step")
            client.recv(64)

    data = TensorDataset(torch.randn(BATCH * 64, WIDTH), torch.randint(0, 10, (BATCH * 64,)))
    loader = DataLoader(data, batch_size=BATCH, sampler=rank_sampler(data))
    train(make_layers(WIDTH, 8), loader, args, every_step=report)


if __name__ == "__main__":
    main()
