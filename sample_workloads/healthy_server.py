"""Verdict: healthy. An inference server: its main thread waits, and other threads run the model."""

import contextlib
import http.client
import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from sample_workloads.training import Meter, device, make_layers, parse_arguments

MODEL = make_layers(512, 12).to(device()).eval()
PAUSE_S = 0.005


class PredictHandler(BaseHTTPRequestHandler):
    """Answers each POST request with a predicted class."""

    def do_POST(self) -> None:
        """Run the model on random inputs and send a class."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with torch.inference_mode():
            scores = MODEL(torch.randn(128, 512, device=device()))
        body = json.dumps({"class": int(scores[0].argmax())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


def send_request(port: int) -> None:
    """Send one request over a new connection."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/", b"x")
        connection.getresponse().read()


def run_client(server: socketserver.BaseServer, port: int, meter: Meter) -> None:
    """Send requests until the meter is done, then stop the server."""
    while not meter.done():
        send_request(port)
        meter.step()
        time.sleep(PAUSE_S)
    end = threading.Thread(target=server.shutdown, daemon=True)
    end.start()
    # The server checks for its end only when a request comes in.
    while end.is_alive():
        with contextlib.suppress(OSError, http.client.HTTPException):
            send_request(port)


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    server = ThreadingHTTPServer(("127.0.0.1", 0), PredictHandler)
    meter = Meter(args)
    threading.Thread(
        target=run_client, args=(server, server.server_port, meter), daemon=True
    ).start()
    with server:
        server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    main()
