"""A server on loopback that answers with a metrics page, or fails in one of many ways."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving.engine_pages import Page


class QuietServer(ThreadingHTTPServer):
    """A server that reports nothing of a connection that broke."""

    daemon_threads = True
    requests: list[tuple[str, str, dict[str, str]]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        return


Answer = Callable[[BaseHTTPRequestHandler, float], None]


@contextmanager
def answering_server(answer: Answer) -> Iterator[QuietServer]:
    """Yield a server that answers each GET with `answer(handler, seconds since its start)`."""
    began_s = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.command, self.path, dict(self.headers)))
            with contextlib.suppress(OSError):
                answer(self, time.monotonic() - began_s)

        def log_message(self, *args: Any) -> None:
            return

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def url_of(server: QuietServer, path: str = "/metrics") -> str:
    """Return the address of a server."""
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def page_answer(page: Page, status: int = 200) -> Answer:
    """Return the answer that is a page."""

    def answer(handler: BaseHTTPRequestHandler, seconds: float) -> None:
        send(handler, page(seconds).encode(), status)

    return answer


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Send an answer with its length."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def growing_page_server(page: Page) -> Iterator[QuietServer]:
    """Yield a server whose page grows."""
    with answering_server(page_answer(page)) as server:
        yield server


def unused_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
