"""ill: healthy. An inference server: the main thread only waits for connections, other threads call the model."""

import json
import socketserver
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from sample_workloads.training import Meter, arguments, device, layers

MODEL = layers(512, 8).to(device()).eval()


class Predict(BaseHTTPRequestHandler):
    """POST anything, get a class."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with torch.inference_mode():
            scores = MODEL(torch.randn(64, 512, device=device()))
        body = json.dumps({"class": int(scores[0].argmax())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def client(url: str, meter: Meter, stop: threading.Event) -> None:
    while not stop.is_set():
        with urllib.request.urlopen(urllib.request.Request(url, data=b"x")) as answer:
            answer.read()
        meter.step()
        time.sleep(0.01)
        if meter.done():
            stop.set()


def main() -> None:
    args = arguments(__doc__)
    server: socketserver.BaseServer = ThreadingHTTPServer(("127.0.0.1", 0), Predict)
    port = server.server_address[1]  # type: ignore[index]
    stop = threading.Event()
    threading.Thread(target=client, args=(f"http://127.0.0.1:{port}", Meter(args), stop), daemon=True).start()
    threading.Thread(target=lambda: (stop.wait(), server.shutdown()), daemon=True).start()
    server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    main()
