"""Images that must be decoded, and a local image store with the latency of a remote one."""

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


def encode_image(seed: int, side: int) -> bytes:
    """Return an RGB image of `side` x `side`, compressed as in a PNG: a ramp with some noise."""
    noise = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(side), np.arange(side))[..., None] * np.array([1, 2, 3])
    pixels = (ramp + noise.integers(0, 8, (side, side, 3))) % 256
    return zlib.compress(pixels.astype(np.uint8).tobytes(), 6)


def decode_image(data: bytes, side: int) -> torch.Tensor:
    """Return the input of the model: the image at SMALL x SMALL, normalized, flat."""
    pixels = np.frombuffer(zlib.decompress(data), np.uint8).reshape(side, side, 3)
    block = side // SMALL
    small = pixels.reshape(SMALL, block, SMALL, block, 3).mean(axis=(1, 3), dtype=np.float32)
    return torch.from_numpy((small / 255.0 - 0.5).reshape(WIDTH))


class Images(Dataset[Any]):
    """Images that are decoded on every access; with `decode_once`, when the dataset is created."""

    def __init__(self, *, side: int, decode_once: bool = False) -> None:
        self.side = side
        self.files = [encode_image(seed, side) for seed in range(DISTINCT)]
        self.ready = [decode_image(data, side) for data in self.files] if decode_once else None

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        number = index % DISTINCT
        if self.ready:
            image = self.ready[number]
        else:
            image = decode_image(self.files[number], self.side)
        return image, index % 10


def image_side(cores: float) -> int:
    """Return the side of images of which 16 take about 30 ms to decode on so many cores."""
    return SMALL * round(304 * cores**0.5 / SMALL)


class ImageRequestHandler(socketserver.BaseRequestHandler):
    """One connection of the store: it answers each request of four bytes with an image."""

    server: "ImageStore"

    def handle(self) -> None:
        """Answer all requests, each after the latency of the store."""
        while request := self.request.recv(4, socket.MSG_WAITALL):
            time.sleep(self.server.latency_s)
            stored = self.server.files[int.from_bytes(request, "big") % DISTINCT]
            self.request.sendall(len(stored).to_bytes(4, "big") + stored)


class ImageStore(socketserver.ThreadingTCPServer):
    """An object store with one thread per connection."""

    daemon_threads = True

    def __init__(self, side: int, latency_s: float) -> None:
        super().__init__(("127.0.0.1", 0), ImageRequestHandler)
        self.latency_s = latency_s
        self.files = [encode_image(seed, side) for seed in range(DISTINCT)]


def serve_images(port: Connection, side: int, latency_s: float) -> None:
    """Serve images until the program that started this process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = multiprocessing.parent_process()
    assert program is not None
    with ImageStore(side, latency_s) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        port.send(store.server_address[1])
        program.join()


def open_store(side: int, latency_s: float) -> int:
    """Start an image store in a separate process; return its port."""
    receiver, sender = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=serve_images, args=(sender, side, latency_s), daemon=True).start()
    port: int = receiver.recv()
    return port


class RemoteImages(Dataset[Any]):
    """Images of the store, decoded; each process and thread has a separate connection."""

    def __init__(self, port: int, side: int) -> None:
        self.port, self.side = port, side
        self.connections: dict[tuple[int, int], socket.socket] = {}

    def __len__(self) -> int:
        return 200_000

    def connection(self) -> socket.socket:
        """Return the connection of this process and thread."""
        key = os.getpid(), threading.get_ident()
        if key not in self.connections:
            self.connections[key] = socket.create_connection(("127.0.0.1", self.port))
        return self.connections[key]

    def __getitem__(self, index: int) -> Any:
        connection = self.connection()
        connection.sendall(index.to_bytes(4, "big"))
        size = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
        data = connection.recv(size, socket.MSG_WAITALL)
        return decode_image(data, self.side), index % 10
