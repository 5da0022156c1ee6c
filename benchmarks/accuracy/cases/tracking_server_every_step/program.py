"""Each step posts its metrics to a tracking server over HTTP and waits for the answer."""

import json
import queue
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
SERVER = """
import http.server, time
class Tracking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.03)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tracking)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Tracker:
    """A client of the tracking server; the server runs in a child process."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        self.url = f"http://127.0.0.1:{self.server.stdout.readline().strip()}/metrics"
        self.pending: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self.post_pending, daemon=True).start()

    def post(self, metrics: list[dict[str, float]]) -> None:
        """Send metrics and wait until the server has stored them."""
        request = urllib.request.Request(self.url, json.dumps(metrics).encode())
        urllib.request.urlopen(request).read()

    def post_pending(self) -> None:
        """Send what is pending, many steps at once, from a thread."""
        while True:
            metrics = [self.pending.get()]
            while not self.pending.empty():
                metrics.append(self.pending.get())
            self.post(metrics)


def main() -> None:
    torch.manual_seed(0)
    tracker = Tracker()
    model = nn.Sequential(nn.Linear(128, 512), nn.Tanh(), nn.Linear(512, 10))
    optimizer = torch.optim.Adam(model.parameters())
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs, labels = torch.randn(512, 128), torch.randint(0, 10, (512,))
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metrics = {"step": steps, "loss": loss.item()}
        if FIX:
            tracker.pending.put(metrics)
        else:
            tracker.post([metrics])
        steps += 1
    tracker.server.kill()
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
