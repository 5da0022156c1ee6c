"""Jobs that wait for another process that sleeps."""

import http.client
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from steps import announce, train

VARIANT = sys.argv[1]
LONG_S = 1000.0


def sleeping_server() -> int:
    """Return the port of a process that accepts connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        _connection = server.accept()
        time.sleep(LONG_S)  # hangs: no-answer, no-data
    port: int = server.getsockname()[1]
    server.close()
    return port


def log_to_server() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sleeping_server())
    announce()
    connection.request("POST", "/metrics", body="{}")
    connection.getresponse()  # hangs: no-answer


def receive_batch() -> None:
    client = socket.create_connection(("127.0.0.1", sleeping_server()))
    announce()
    client.recv(1 << 16)  # hangs: no-data


def compile_kernel() -> None:
    announce()
    subprocess.run(["sleep", "1000"], check=True)  # hangs: child-sleeps


def step_environment(pipe: multiprocessing.connection.Connection) -> None:
    pipe.recv()
    time.sleep(LONG_S)  # hangs: environment-sleeps


def act() -> None:
    near, far = multiprocessing.Pipe()
    multiprocessing.Process(target=step_environment, args=(far,), daemon=True).start()
    announce()
    near.send("action")
    near.recv()  # hangs: environment-sleeps


def tokenize() -> None:
    time.sleep(LONG_S)  # hangs: task-sleeps


def run_task() -> None:
    with ProcessPoolExecutor(1) as executor:
        announce()
        executor.submit(tokenize).result()  # hangs: task-sleeps


train()
{
    "no-answer": log_to_server,
    "no-data": receive_batch,
    "child-sleeps": compile_kernel,
    "environment-sleeps": act,
    "task-sleeps": run_task,
}[VARIANT]()
