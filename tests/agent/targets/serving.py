"""A small inference server: `serving.py OUT threads|asyncio`.

Writes its port to OUT, and answers each line with the output of a model and the id of the thread
that ran it. `threads` uses one thread per connection; `asyncio` answers every other request in the
thread of the event loop and the rest in two threads of an executor.
"""

import asyncio
import itertools
import socketserver
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

torch.manual_seed(3)
torch.set_num_threads(1)
MODEL = torch.nn.Sequential(
    torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
).eval()


def served(number: int) -> bytes:
    with torch.inference_mode():
        given = torch.full((4, 32), float(number % 7))
        return f"{MODEL(given).sum().item():.6f} {threading.get_native_id()}\n".encode()


def ready(port: int) -> None:
    with open(sys.argv[1], "w") as out:
        out.write(f"{port}\n")


class Connection(socketserver.StreamRequestHandler):
    """The connection of one client."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(served(int(line)))


class Server(socketserver.ThreadingTCPServer):
    """A server with one thread per client."""

    daemon_threads = True


async def by_loop() -> None:
    """Serve every other request in the thread of the event loop, the rest in two more threads."""
    turns, pool = itertools.count(), ThreadPoolExecutor(2)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            number = int(line)
            if next(turns) % 2:
                answer = await asyncio.get_running_loop().run_in_executor(pool, served, number)
            else:
                answer = served(number)
            writer.write(answer)
            await writer.drain()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    if sys.argv[2] == "asyncio":
        asyncio.run(by_loop())
    with Server(("127.0.0.1", 0), Connection) as server:
        ready(server.server_address[1])
        server.serve_forever()


if __name__ == "__main__":
    main()
