"""A model server over HTTP: threads of the standard library's server, one client process that asks
one thing at a time.
"""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from observed import Observed, Training, arguments

CLIENT = """
import http.client, sys
connection, number = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=120), 0
while number < int(sys.argv[2]):
    connection.request("GET", f"/{number}")
    answer = connection.getresponse()
    if answer.status != 200 or not answer.read():
        raise SystemExit(f"request {number} failed with {answer.status}")
    number += 1
"""


def main():
    out, steps = arguments()
    training, observed = Training(batch=512), Observed(out)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            number = int(self.path[1:])
            with torch.inference_mode():
                value = training.model(training.data(number)[0]).sum().item()
            body = value.hex().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            observed.done(value, number)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    command = [sys.executable, "-c", CLIENT, str(server.server_address[1]), str(steps)]
    client = subprocess.Popen(command)
    threading.Thread(target=lambda: (client.wait(), server.shutdown()), daemon=True).start()
    server.serve_forever()
    sys.exit(client.returncode)


if __name__ == "__main__":
    main()
