"""A cookie of the dashboard, as another user of this machine gets to know it.

A browser sends the cookies of 127.0.0.1 to every port there, and each user can serve one.
"""

import http.client
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.ui.dashboard.client_user import user_of_client
from perfscope.ui.dashboard.serve import Dashboard
from tests.safety.other_user import NOBODY, PYTHON_FOR_ALL, needs_root, run_as_nobody

ASK = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
connection.request("GET", sys.argv[2], headers={"Cookie": sys.argv[3]})
answer = connection.getresponse()
print(answer.status, (answer.getheader("Set-Cookie") or "-").split(";")[0])
"""
CONNECT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as connection:
    connection.connect((sys.argv[1], int(sys.argv[2])))
    connection.recv(1)
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Dashboard]:
    dashboard = Dashboard(tmp_path, port=0)
    yield dashboard
    dashboard.close()


def ask(board: Dashboard, path: str, cookie: str = "") -> tuple[int, str]:
    """Return the status of an answer, and the cookie that it sets."""
    connection = http.client.HTTPConnection("127.0.0.1", board.access.port, timeout=30)
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    return answer.status, (answer.getheader("Set-Cookie") or "-").split(";")[0]


def ask_as_nobody(board: Dashboard, path: str, cookie: str = "") -> tuple[int, str]:
    """Do the same as another user."""
    asking = run_as_nobody(ASK, str(board.access.port), path, cookie)
    status, name = asking.communicate(timeout=60)[0].split()
    return int(status), name


def test_the_cookie_is_not_the_token(board: Dashboard) -> None:
    token = str(board.access.token)
    status, cookie = ask(board, f"/?token={token}")
    assert status == 302 and token not in cookie
    assert ask(board, "/", cookie)[0] == 200
    value = cookie.partition("=")[2]
    assert ask(board, f"/?token={value}")[0] == 401
    assert ask(board, "/", f"{board.access.cookie}={token}")[0] == 401


@needs_root
def test_a_cookie_gives_another_user_no_access(board: Dashboard) -> None:
    cookie = ask(board, f"/?token={board.access.token}")[1]
    assert ask(board, "/", cookie)[0] == 200
    assert ask_as_nobody(board, "/", cookie)[0] == 401


@needs_root
def test_another_user_who_was_given_the_token_has_access(board: Dashboard) -> None:
    status, cookie = ask_as_nobody(board, f"/?token={board.access.token}")
    assert status == 302
    assert ask_as_nobody(board, "/", cookie)[0] == 200
    assert ask(board, "/", cookie)[0] == 401


@needs_root
@pytest.mark.parametrize(
    ("served", "called"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1")],
)
def test_the_kernel_knows_the_user_of_a_client(served: str, called: str) -> None:
    family = socket.AF_INET6 if ":" in served else socket.AF_INET
    try:
        server = socket.create_server((served, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        command = [PYTHON_FOR_ALL or "", "-I", "-S", "-c", CONNECT, called]
        command.append(str(server.getsockname()[1]))
        calling = subprocess.Popen(command, user=NOBODY, group=NOBODY, extra_groups=[], env={})
        with calling, server.accept()[0] as connection:
            assert user_of_client(connection) == NOBODY


def test_a_socket_without_addresses_has_no_known_user() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert user_of_client(left) is None
