"""ill: input-bound/too-few-workers. One worker asks a distant store, one answer after the other; the step needs four."""

import multiprocessing
import socket
import socketserver
import time
import zlib
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, layers, train

LATENCY_S = 0.003
WIDTH = 512


class Answer(socketserver.BaseRequestHandler):
    """The store's side of one connection: four bytes ask, an object comes back after the way there and back."""

    def handle(self) -> None:
        stored = zlib.compress(np.random.default_rng(0).standard_normal(WIDTH).astype(np.float32).tobytes())
        while self.request.recv(4):
            time.sleep(LATENCY_S)
            self.request.sendall(len(stored).to_bytes(4, "big") + stored)


class Store(socketserver.ThreadingTCPServer):
    """An object store on this machine that is as slow to answer as one far away."""

    daemon_threads = True


def serve(port: Any) -> None:
    with Store(("127.0.0.1", 0), Answer) as store:
        port.send(store.server_address[1])
        store.serve_forever()


class Remote(Dataset[Any]):
    """Objects of the store, over one connection a worker."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.line: socket.socket | None = None

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> Any:
        if self.line is None:
            self.line = socket.create_connection(("127.0.0.1", self.port))
        self.line.sendall(index.to_bytes(4, "big"))
        size = int.from_bytes(self.line.recv(4, socket.MSG_WAITALL), "big")
        data = zlib.decompress(self.line.recv(size, socket.MSG_WAITALL))
        return torch.frombuffer(bytearray(data), dtype=torch.float32), index % 10


def main() -> None:
    args = arguments(__doc__, workers=1)
    ours, theirs = multiprocessing.Pipe()
    store = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    store.start()
    workers = 6 if args.fix else args.workers
    train(layers(WIDTH, 6), DataLoader(Remote(ours.recv()), batch_size=8, num_workers=workers), args, learn=heavy)


def heavy(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """Eight objects seen in many variations."""
    inputs, labels = batch
    varied = inputs.repeat(12, 1) + 0.1 * torch.randn(12 * len(inputs), WIDTH, device=inputs.device)
    return torch.nn.functional.cross_entropy(model(varied), labels.repeat(12))


if __name__ == "__main__":
    main()
