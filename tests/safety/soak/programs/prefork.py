"""gunicorn with a model that is loaded before it forks two workers; the attach goes to the process
that has them.
"""

import os
import signal
import subprocess
import sys
import threading

import torch
from gunicorn.app.base import BaseApplication
from observed import Observed, Training, arguments

CLIENT = """
import http.client, sys, time
number = 0
while number < int(sys.argv[2]):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=120)
    connection.request("GET", f"/{number}")
    answer = connection.getresponse()
    if answer.status != 200 or not answer.read():
        raise SystemExit(f"request {number} failed with {answer.status}")
    connection.close()
    number += 1
"""


class Server(BaseApplication):
    """A gunicorn application without a command line."""

    def __init__(self, application, options):
        self.application, self.options = application, options
        super().__init__()

    def load_config(self):
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self):
        return self.application


def main():
    out, steps = arguments()
    training, observed = Training(batch=512), Observed(out)
    observed.answer_always()
    parent = os.getpid()

    def application(environ, respond):
        number = int(environ["PATH_INFO"][1:])
        with torch.inference_mode():
            value = training.model(training.data(number)[0]).sum().item()
        if number % 50 == 0:
            observed.child("", "worker")
        observed.done(value, number)
        body = value.hex().encode()
        respond("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def when_ready(server):
        port = server.LISTENERS[0].sock.getsockname()[1]
        client = subprocess.Popen([sys.executable, "-c", CLIENT, str(port), str(steps)])
        threading.Thread(
            target=lambda: (client.wait(), os.kill(parent, signal.SIGTERM)), daemon=True
        ).start()

    options = {"bind": "127.0.0.1:0", "workers": 2, "preload_app": True, "when_ready": when_ready}
    Server(
        application, options | {"loglevel": "error", "timeout": 300, "control_socket_disable": True}
    ).run()


if __name__ == "__main__":
    main()
