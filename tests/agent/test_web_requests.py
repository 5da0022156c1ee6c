"""Requests of real web servers that are attached to unprepared: what is recorded of them, and that
answers, errors and the server's classes are as before.
"""

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from perfscope.traces.load import load_trace
from tests.target_processes import perfscope as command

MS = 1_000_000
COMMON = """
import asyncio, sys, time
import torch

def describe(function):
    return [function.__module__, function.__qualname__, hasattr(function, "__wrapped__")]
"""
UVICORN = (
    COMMON
    + """
import fastapi, uvicorn
from fastapi.responses import StreamingResponse
from uvicorn.protocols.http import h11_impl

app = fastapi.FastAPI()

@app.get("/wait")
async def wait():
    await asyncio.sleep(0.03)
    return {"answer": 42}

@app.get("/fail")
async def fail():
    raise LookupError("of the program")

@app.get("/stream")
async def stream():
    async def parts():
        for place in range(3):
            await asyncio.sleep(0.02)
            yield f"part {place};"
    return StreamingResponse(parts())

@app.get("/state")
async def state():
    cycle = h11_impl.RequestResponseCycle
    return [describe(cycle.run_asgi), describe(cycle.send), asyncio.iscoroutinefunction(cycle.send)]

config = uvicorn.Config(app, port=0, http="h11", log_level="critical")
server = uvicorn.Server(config)

async def main():
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving

asyncio.run(main())
"""
)
FLASK = (
    COMMON
    + """
import logging
import flask
from werkzeug.serving import make_server

logging.disable()
app = flask.Flask(__name__)

@app.get("/wait")
def wait():
    time.sleep(0.03)
    return {"answer": 42}

@app.get("/fail")
def fail():
    raise LookupError("of the program")

@app.get("/state")
def state():
    return [describe(flask.Flask.full_dispatch_request)]

server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
)

AIOHTTP = (
    COMMON
    + """
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

async def wait(request):
    await asyncio.sleep(0.03)
    return web.json_response({"answer": 42})

async def fail(request):
    raise LookupError("of the program")

async def state(request):
    return web.json_response([describe(RequestHandler._handle_request)])

async def main():
    app = web.Application()
    app.add_routes([web.get(f"/{each.__name__}", each) for each in (wait, fail, state)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)

import logging
logging.disable()
asyncio.run(main())
"""
)
DJANGO = (
    COMMON
    + """
import socketserver
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="-", LOGGING_CONFIG=None)
django.setup()

def wait(request):
    time.sleep(0.03)
    return JsonResponse({"answer": 42})

def fail(request):
    raise LookupError("of the program")

def state(request):
    return JsonResponse([describe(WSGIHandler.__call__)], safe=False)

urlpatterns = [path(view.__name__, view) for view in (wait, fail, state)]

class Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

server = make_server("127.0.0.1", 0, get_wsgi_application(), Threads, Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""
)
WSGI = """
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/wait":
        time.sleep(0.03)
    elif path == "/fail":
        raise LookupError("of the program")
    elif path == "/state":
        body = json.dumps([describe(owner.handle_request)]).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    elif path != "/wait":
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Length", "2")])
    return [b"42"]
"""
GUNICORN = (
    COMMON
    + """
import json, socket
from gunicorn.app.base import BaseApplication
from gunicorn.workers.WORKER import OWNER as owner
"""
    + WSGI
    + """
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
port = listener.getsockname()[1]

class Application(BaseApplication):
    def load_config(self):
        options = {"workers": 1, "threads": THREADS, "loglevel": "critical"}
        for name, value in {**options, "bind": f"127.0.0.1:{port}"}.items():
            self.cfg.set(name, value)
        self.cfg.set("when_ready", lambda server: print(port, flush=True))

    def load(self):
        return application

listener.close()
Application().run()
"""
)


def gunicorn(worker: str, owner: str, threads: int) -> str:
    """Return a program with one gunicorn worker of a kind."""
    text = GUNICORN.replace("WORKER", worker).replace("OWNER", owner)
    return text.replace("THREADS", str(threads))


def fetch(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@contextmanager
def running_server(folder: Path, text: str) -> Iterator[tuple[int, int]]:
    """Run a server; yield its pid and its port."""
    # gunicorn's first process is recognized by the name of its script.
    script = folder / ("gunicorn" if "gunicorn.app" in text else "server.py")
    script.write_text(text)
    start = [sys.executable, script]
    errors = (folder / "errors.txt").open("w")
    with (
        errors,
        subprocess.Popen(start, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            yield server.pid, int(server.stdout.readline())
        finally:
            server.kill()


def requests_during(folder: Path, pid: int, port: int, paths: list[str]) -> list[tuple[int, bytes]]:
    """Attach for two seconds, and request the paths one after the other meanwhile."""
    options = ["--depth", "probe", "--duration", "4", "--out", folder / "run", "--json"]
    answers: list[tuple[int, bytes]] = []
    words = command("attach", str(pid), *options)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stderr is not None
        next(line for line in agent.stderr if "entered" in line)
        threading.Event().wait(0.7)
        answers += [fetch(port, path) for path in paths]
        agent.communicate(timeout=60)
        assert agent.returncode == 0
    return answers


def rows_of_run(folder: Path) -> pd.DataFrame:
    rows = load_trace(folder / "run").table("requests")
    assert rows is not None
    return rows


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (UVICORN, ["/wait", "/fail", "/stream", "/missing", "/wait"]),
        (FLASK, ["/wait", "/fail", "/missing", "/wait"]),
        (DJANGO, ["/wait", "/fail", "/missing", "/wait"]),
        (AIOHTTP, ["/wait", "/fail", "/missing", "/wait"]),
        (gunicorn("sync", "SyncWorker", 1), ["/wait", "/fail", "/missing", "/wait"]),
        (gunicorn("gthread", "ThreadWorker", 4), ["/wait", "/fail", "/missing", "/wait"]),
    ],
    ids=["uvicorn", "flask", "django", "aiohttp", "gunicorn-sync", "gunicorn-threads"],
)
def test_requests_are_timed_and_nothing_changes(
    tmp_path: Path, text: str, paths: list[str], request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(request.node.callspec.id.partition("-")[0])
    with running_server(tmp_path, text) as (pid, port):
        before = [fetch(port, path) for path in paths]
        state = fetch(port, "/state")
        during = requests_during(tmp_path, pid, port, paths)
        after, left = [fetch(port, path) for path in paths], fetch(port, "/state")
    assert before == during == after
    assert state == left
    assert not any(wrapped for _, _, wrapped in json.loads(state[1])[:1])

    rows = rows_of_run(tmp_path)
    assert set(rows["source"]) == {"handler"}
    state_of = dict(zip(paths, rows["state"], strict=True))
    assert len(rows) == len(paths)
    assert (state_of["/wait"], state_of["/fail"]) == ("complete", "failed")
    assert state_of["/missing"] == "complete"
    waits = rows["dur"][[path == "/wait" for path in paths]]
    assert ((waits >= 30 * MS) & (waits < 300 * MS)).all()
    if "/stream" in paths:
        streamed = rows.iloc[paths.index("/stream")]
        assert streamed["first_token_ns"] >= 20 * MS
        assert streamed["dur"] - streamed["first_token_ns"] >= 40 * MS
    assert (rows["first_token_ns"][[path != "/stream" for path in paths]] == -1).all()


def test_a_cancelled_handler_leaves_no_warning(tmp_path: Path) -> None:
    """The client goes away, and the server ends while a handler waits."""
    text = UVICORN.replace("asyncio.sleep(0.03)", "asyncio.sleep(60.0)")
    with running_server(tmp_path, text) as (pid, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

        def leave() -> None:
            connection.request("GET", "/wait")
            connection.close()

        threading.Timer(3.0, leave).start()
        options = ["--depth", "probe", "--duration", "5", "--out", tmp_path / "run", "--json"]
        done = subprocess.run(command("attach", str(pid), *options), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert fetch(port, "/missing")[0] == 404
    assert list(rows_of_run(tmp_path)["state"]) == ["unfinished"]
    assert (tmp_path / "errors.txt").read_text() == ""
