"""A process that is started, and that listens, like an inference engine.

Written to a file that is called `vllm`: `python vllm serve m --port PORT`. It answers with the
admission limit's page, writes the uid and the path of each request to a file, and has a child, as
engines have workers.
"""

TEXT = """
import os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

port, log = int(sys.argv[sys.argv.index("--port") + 1]), sys.argv[sys.argv.index("--log") + 1]
began = time.monotonic()

def uid_of(port):
    for line in open("/proc/net/tcp").readlines()[1:]:
        words = line.split()
        if int(words[1].split(":")[1], 16) == port:
            return int(words[7])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with open(log, "a") as file:
            print(uid_of(self.client_address[1]), self.path, file=file)
        done = int(20 * (time.monotonic() - began))
        labels = 'engine="0",model_name="m"'
        values = {"num_requests_running": 1, "num_requests_waiting": 7,
            "kv_cache_usage_perc": 0.01, "generation_tokens_total": 50 * done,
            "request_success_total": done}
        body = "".join(f"vllm:{name}{{{labels}}} {value}\\\\n" for name, value in values.items())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words):
        pass

server = HTTPServer(("127.0.0.1", port), Handler) if "--deaf" not in sys.argv else None
worker = os.fork()
if worker == 0:
    if "--grammars" in sys.argv:
        sys.path.insert(0, os.path.join(os.getcwd(), "site-packages"))
        from vllm.v1.engine import core
        core.run_busy_loop()
    while os.getppid() != 1:
        time.sleep(0.05)
    os._exit(0)
print(worker, flush=True)
while server is not None:
    server.handle_request()
while True:
    time.sleep(0.05)
"""

PACKAGES = {
    "vllm/v1/engine/core.py": """
import os, time
from xgrammar.compiler import compile_json_schema

def run_busy_loop():
    while os.getppid() != 1:
        compile_json_schema(0.06)
        time.sleep(0.04)
""",
    "xgrammar/compiler.py": """
import time

def compile_json_schema(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))
""",
}
"""Files below `site-packages` with which `--grammars` makes the child work as an engine's loop."""
