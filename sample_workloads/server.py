"""ill: healthy. An inference server: the main thread only waits for connections, other threads call
the model.
"""

import contextlib
import http.client
import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from sample_workloads.training import Meter, arguments, device, layers

MODEL = layers(512, 12).to(device()).eval()
PAUSE_S = 0.005


class Predict(BaseHTTPRequestHandler):
    """POST anything, get a class."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with torch.inference_mode():
            scores = MODEL(torch.randn(128, 512, device=device()))
        body = json.dumps({"class": int(scores[0].argmax())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def ask(port: int) -> None:
    """One call, over a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as line:
        line.request("POST", "/", b"x")
        line.getresponse().read()


def client(server: socketserver.BaseServer, port: int, meter: Meter) -> None:
    """Calls until the meter says stop, then stops the server."""
    while not meter.done():
        ask(port)
        meter.step()
        time.sleep(PAUSE_S)
    end = threading.Thread(target=server.shutdown, daemon=True)
    end.start()
    while end.is_alive():  # the server looks up from waiting only when somebody calls
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(port)


def main() -> None:
    args = arguments(__doc__)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Predict)
    meter = Meter(args)
    threading.Thread(target=client, args=(server, server.server_port, meter), daemon=True).start()
    with server:
        server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    main()
