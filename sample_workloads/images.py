"""Images that must be decoded, and a store on this machine that is as slow to answer as one far
away.
"""

import multiprocessing
import os
import signal
import socket
import socketserver
import threading
import time
import zlib
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

SMALL = 16
WIDTH = 3 * SMALL * SMALL
DISTINCT = 16


def compressed(seed: int, side: int) -> bytes:
    """One RGB picture of `side` x `side`, smooth with some noise, as a PNG would store it."""
    noise = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(side), np.arange(side))[..., None] * np.array([1, 2, 3])
    return zlib.compress(
        ((ramp + noise.integers(0, 8, (side, side, 3))) % 256).astype(np.uint8).tobytes(), 6
    )


def decoded(data: bytes, side: int) -> torch.Tensor:
    """The picture as the model wants it: SMALL x SMALL, normalised, flat."""
    pixels = np.frombuffer(zlib.decompress(data), np.uint8).reshape(side, side, 3)
    block = side // SMALL
    small = pixels.reshape(SMALL, block, SMALL, block, 3).mean(axis=(1, 3), dtype=np.float32)
    return torch.from_numpy((small / 255.0 - 0.5).reshape(WIDTH))


class Images(Dataset[Any]):
    """Decodes on every access, or, with `ahead`, once when it is made."""

    def __init__(self, *, side: int, ahead: bool = False) -> None:
        self.side = side
        self.files = [compressed(seed, side) for seed in range(DISTINCT)]
        self.ready = [decoded(data, side) for data in self.files] if ahead else None

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        at = index % DISTINCT
        image = self.ready[at] if self.ready else decoded(self.files[at], self.side)
        return image, index % 10


def side_for(cores: float) -> int:
    """Pictures so large that decoding sixteen of them keeps so many cores busy for about 30 ms
    each.
    """
    return SMALL * round(304 * cores**0.5 / SMALL)


class Answer(socketserver.BaseRequestHandler):
    """The store's side of one connection: four bytes ask, a picture comes back after the way there
    and back.
    """

    server: "Store"

    def handle(self) -> None:
        while asked := self.request.recv(4, socket.MSG_WAITALL):
            time.sleep(self.server.latency_s)
            stored = self.server.files[int.from_bytes(asked, "big") % DISTINCT]
            self.request.sendall(len(stored).to_bytes(4, "big") + stored)


class Store(socketserver.ThreadingTCPServer):
    """An object store: a thread for each connection."""

    daemon_threads = True

    def __init__(self, side: int, latency_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.latency_s = latency_s
        self.files = [compressed(seed, side) for seed in range(DISTINCT)]


def serve(port: Connection, side: int, latency_s: float) -> None:
    """The store's process: serves until the program that started it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = multiprocessing.parent_process()
    assert program is not None
    with Store(side, latency_s) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        port.send(store.server_address[1])
        program.join()


def open_store(side: int, latency_s: float) -> int:
    """Start a store of pictures in a process of its own; the port where it answers."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=serve, args=(theirs, side, latency_s), daemon=True).start()
    port: int = ours.recv()
    return port


class RemoteImages(Dataset[Any]):
    """Pictures of the store, decoded; one connection for each process and thread that asks."""

    def __init__(self, port: int, side: int) -> None:
        self.port, self.side = port, side
        self.lines: dict[tuple[int, int], socket.socket] = {}

    def __len__(self) -> int:
        return 200_000

    def line(self) -> socket.socket:
        """The connection of this process and thread."""
        asker = os.getpid(), threading.get_ident()
        if asker not in self.lines:
            self.lines[asker] = socket.create_connection(("127.0.0.1", self.port))
        return self.lines[asker]

    def __getitem__(self, index: int) -> Any:
        line = self.line()
        line.sendall(index.to_bytes(4, "big"))
        size = int.from_bytes(line.recv(4, socket.MSG_WAITALL), "big")
        return decoded(line.recv(size, socket.MSG_WAITALL), self.side), index % 10
