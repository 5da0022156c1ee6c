"""A threaded HTTP server whose memory does not grow with what strangers send.

Everybody on this machine can connect to its port, and each connection has a thread. So the number
of connections and the bytes of a request's head are bounded. A connection that is one too many
takes the place of the one that waits longest for a request: a flood can delay nobody for long.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

MOST_CONNECTIONS: Final = 128
"""A browser has six per page."""
LARGEST_HEAD_BYTES: Final = 64 << 10


class BoundedServer(ThreadedWSGIServer):
    """A server with at most MOST_CONNECTIONS connections."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.lock = threading.Lock()
        self.connections: dict[socket.socket, bool] = {}
        """Whether a request is being answered, by connection; the oldest is first."""
        super().__init__(*arguments, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection; if there are many, another one is closed."""
        with self.lock:
            closed = self.longest() if len(self.connections) >= MOST_CONNECTIONS else None
            if closed is not None:
                del self.connections[closed]
            self.connections[request] = False
        if closed is not None:
            with suppress(OSError):
                closed.shutdown(socket.SHUT_RDWR)  # its thread sees the end, and closes it
        super().process_request(request, client_address)

    def longest(self) -> socket.socket | None:
        """Return the connection that waits longest for a request, else that whose request takes
        longest: its sender may never send the rest.
        """
        waiting = (each for each, is_busy in self.connections.items() if not is_busy)
        return next(waiting, next(iter(self.connections), None))

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self.lock:
            self.connections.pop(request, None)
        super().shutdown_request(request)

    @contextmanager
    def answering(self, connection: socket.socket) -> Iterator[None]:
        """Keep a connection open while its request is answered; afterwards it is the youngest."""
        self.set_busy(connection, is_busy=True)
        try:
            yield
        finally:
            self.set_busy(connection, is_busy=False)

    def set_busy(self, connection: socket.socket, *, is_busy: bool) -> None:
        """Note whether a request is being answered, unless the connection was closed."""
        with self.lock:
            if self.connections.pop(connection, None) is not None:
                self.connections[connection] = is_busy


class HeadReader:
    """Reads the lines of a request's head. Raises LineTooLong after LARGEST_HEAD_BYTES."""

    def __init__(self, file: Any) -> None:
        self.file, self.left = file, LARGEST_HEAD_BYTES

    def readline(self, most: int = -1) -> bytes:
        """Return the next line."""
        line: bytes = self.file.readline(most)
        self.left -= len(line)
        if self.left < 0:
            raise http.client.LineTooLong("the head of the request")
        return line


class BoundedHandler(WSGIRequestHandler):
    """The handler of a connection of a BoundedServer."""

    server: BoundedServer

    def parse_request(self) -> bool:
        """Return whether the head of the request can be answered."""
        body = self.rfile
        self.rfile = HeadReader(body)  # type: ignore[assignment]
        try:
            return super().parse_request()
        finally:
            self.rfile = body

    def run_wsgi(self) -> None:
        """Answer a request."""
        with self.server.answering(self.connection):
            super().run_wsgi()
