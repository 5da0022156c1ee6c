"""Runs the dashboard's server until it is interrupted."""

import errno
import logging
import socket
import threading
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perfscope.errors import UsageError
from perfscope.ui.dashboard.app import create_app
from perfscope.ui.dashboard.auth import CLIENT_USER, Access
from perfscope.ui.dashboard.bounded_server import BoundedHandler, BoundedServer
from perfscope.ui.dashboard.client_user import user_of_client
from perfscope.ui.dashboard.dashboard_data import DashboardSource, Live
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.reverse_proxy import ReverseProxyPath, normalized_base_path
from perfscope.ui.dashboard.verdicts import Verdicts

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PORT, LAST_PORT = 8050, 65535
IDLE_S = 60
PAGES_AFTER_S = 2.0
"""When the pages are imported, so that the first one opens at once: after the list of runs."""


class Handler(BoundedHandler):
    """The handler of one request. It is not logged: a request line can contain the token."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S  # of a connection that sends nothing, which holds a thread

    def log(self, type: str, message: str, *args: object) -> None:
        """Print nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing; the address may be invalid."""

    def parse_request(self) -> bool:
        """Refuse addresses other than a path: werkzeug prints a traceback for invalid ones, and for
        a whole URL it replaces the Host header by the URL's host before that can be checked.
        """
        if not super().parse_request():
            return False
        if is_local_path(self.path):
            return True
        self.send_error(400)
        return False

    def make_environ(self) -> "WSGIEnvironment":
        """Return the environment of a request, with the means to find out who sent it."""
        environ = super().make_environ()
        environ[CLIENT_USER] = partial(user_of_client, self.connection)
        return environ

    def version_string(self) -> str:
        """Return the name of the server without the version of werkzeug."""
        return "perfscope"


def is_local_path(address: str) -> bool:
    """Return whether the address in a request line is valid and names no host."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return not parts.scheme and not parts.netloc


class Dashboard:
    """A running server; `close` stops it."""

    def __init__(
        self,
        root: Path,
        address: str = "127.0.0.1",
        port: int | None = None,
        live: Live | None = None,
        *,
        with_token: bool = True,
        base_path: str | None = None,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """Raises UsageError where `address` is not loopback and there is no token, and for a
        `base_path` that is not a path or has no token.
        """
        path = normalized_base_path(base_path)
        access = Access(0, address, base_path=path)
        if not with_token:
            access = replace(access, token=None)  # refused before a port is taken
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.library, self.verdicts = Library(root, ignored), Verdicts(ignored)
        self.socket = listening(address, port)
        self.access = replace(access, port=self.socket.port)
        self.live = live
        self.app = create_app(DashboardSource(self.library, self.verdicts, self.access, live))
        application = self.app.server
        host = f"127.0.0.1:{self.access.port}"
        self.socket.app = ReverseProxyPath(application, path, host) if path else application
        self.thread = threading.Thread(
            target=self.socket.serve_forever, daemon=True, name="dashboard"
        )
        self.thread.start()
        self.later = threading.Timer(PAGES_AFTER_S, import_pages)
        self.later.daemon = True
        self.later.start()

    @property
    def url(self) -> str:
        """The address to open, with the token where one is needed."""
        return self.access.url("/live" if self.live is not None else "/")

    def close(self) -> None:
        """Stop the server."""
        self.later.cancel()
        self.verdicts.close()
        self.socket.shutdown()
        self.socket.server_close()


def import_pages() -> None:
    """Import what the pages of a run need: pandas, the analyzer and the figures."""
    import_module("perfscope.ui.dashboard.pages")
    import_module("perfscope.ui.timeline.route_answers")


def listening(address: str, port: int | None) -> BoundedServer:
    """Return a server on the port; without one on 8050, or on any free port where that is taken.

    Raises UsageError.
    """
    if port is not None and not 0 <= port <= LAST_PORT:
        raise UsageError(f"cannot listen on port {port}: ports end at {LAST_PORT}")
    wanted = [PORT, 0] if port is None else [port]
    for number in wanted:
        try:
            # Where the port is taken, werkzeug would print a message and exit.
            socket.create_server((address, number), family=family(address)).close()
            return BoundedServer(address, number, answer_nothing, Handler)
        except OSError as error:
            if number == wanted[-1]:
                busy = error.errno == errno.EADDRINUSE
                why = (
                    f"port {number} is taken; name another with --port"
                    if busy
                    else f"{error}; see --port and --host"
                )
                raise UsageError(f"cannot listen on {address}: {why}") from None
    raise AssertionError("the last port either worked or raised")


def family(address: str) -> socket.AddressFamily:
    """Return the address family: IPv6 where the address has colons."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def answer_nothing(environ: object, start_response: object) -> list[bytes]:
    """Answer nothing until the application exists, which needs to know its port."""
    return []
