"""Connections of strangers to the dashboard: their number and what they send are bounded, and a
viewer is served.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from perfscope.ui.dashboard import bounded_server
from perfscope.ui.dashboard.serve import Dashboard
from tests.target_processes import until
from tests.ui.kineto_files import small_trace

MOST = 12


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setattr(bounded_server, "MOST_CONNECTIONS", MOST)
    small_trace(tmp_path / "gpu.json")
    made = Dashboard(tmp_path, port=0)
    yield made
    made.close()


def status_of_sign_in(port: int, headers: dict[str, str] | None = None) -> int:
    """Return the status of the first page without a token."""
    viewer = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    viewer.request("GET", "/", headers=headers or {})
    status = viewer.getresponse().status
    viewer.close()
    return status


HALF_A_FORM = (
    b"POST /sign-in/token HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 900\r\n\r\ntoken="
)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", HALF_A_FORM])
def test_connections_that_wait_are_bounded_and_a_viewer_is_served(
    dashboard: Dashboard, sent: bytes
) -> None:
    port = dashboard.access.port
    threads = threading.active_count()
    with ExitStack() as opened:
        for _ in range(5 * MOST):
            stranger = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            stranger.sendall(sent.replace(b"%d", str(port).encode()))
        assert status_of_sign_in(port) == 401
        until(lambda: threading.active_count() <= threads + MOST)
        assert len(dashboard.socket.connections) <= MOST


def test_an_idle_connection_of_a_viewer_gives_way_and_an_answer_does_not(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, finished = threading.Event(), threading.Event()
    usual = dashboard.socket.app

    def slow(environ: Any, start_response: Any) -> Any:
        begun.set()
        assert finished.wait(20)
        return usual(environ, start_response)

    dashboard.socket.app = slow
    port, found = dashboard.access.port, []
    viewer = threading.Thread(target=lambda: found.append(status_of_sign_in(port)))
    viewer.start()
    assert begun.wait(20)
    with ExitStack() as opened:
        for _ in range(3 * MOST):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        until(lambda: len(dashboard.socket.connections) == MOST)
        finished.set()
        viewer.join(20)
    assert found == [401]


def test_the_head_of_a_request_is_bounded(dashboard: Dashboard) -> None:
    port = dashboard.access.port
    few = {f"X-{at}": "x" * 1000 for at in range(20)}
    many = {f"X-{at}": "x" * 1000 for at in range(80)}
    assert (status_of_sign_in(port, few), status_of_sign_in(port, many)) == (401, 431)
