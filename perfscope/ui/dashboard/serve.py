"""Runs the dashboard's server until it is interrupted."""

import errno
import logging
import socket
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from perfscope.errors import UsageError
from perfscope.ui.dashboard.app import create_app
from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.reverse_proxy import ReverseProxyPath, normalized_base_path
from perfscope.ui.dashboard.source import Live, Source
from perfscope.ui.dashboard.verdicts import Verdicts

PORT, LAST_PORT = 8050, 65535


IDLE_S = 60


class Handler(WSGIRequestHandler):
    """One request. It is not logged: a request line may hold the token."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S  # of a connection that sends nothing, which holds a thread

    def log(self, type: str, message: str, *args: object) -> None:
        """Print nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing, and do not look at the address, which may be none."""

    def parse_request(self) -> bool:
        """Refuse what is no address, at which werkzeug would end with a traceback."""
        if not super().parse_request():
            return False
        try:
            urlsplit(self.path)
        except ValueError:
            self.send_error(400)
            return False
        return True

    def version_string(self) -> str:
        return "perfscope"


class Dashboard:
    """A running server; `close` ends it."""

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
        self.app = create_app(Source(self.library, self.verdicts, self.access, live))
        application = self.app.server
        host = f"127.0.0.1:{self.access.port}"
        self.socket.app = ReverseProxyPath(application, path, host) if path else application
        self.thread = threading.Thread(
            target=self.socket.serve_forever, daemon=True, name="dashboard"
        )
        self.thread.start()

    @property
    def url(self) -> str:
        """The address to open, with the token where one is needed."""
        return self.access.url("/live" if self.live is not None else "/")

    def close(self) -> None:
        self.verdicts.close()
        self.socket.shutdown()
        self.socket.server_close()


def listening(address: str, port: int | None) -> BaseWSGIServer:
    """A socket on the port; without one on the usual, or where that is taken on any. Raises
    UsageError.
    """
    if port is not None and not 0 <= port <= LAST_PORT:
        raise UsageError(f"cannot listen on port {port}: ports end at {LAST_PORT}")
    wanted = [PORT, 0] if port is None else [port]
    for one in wanted:
        try:
            socket.create_server(
                (address, one), family=family(address)
            ).close()  # werkzeug would print and exit
            return make_server(address, one, nothing, threaded=True, request_handler=Handler)
        except OSError as error:
            if one == wanted[-1]:
                busy = error.errno == errno.EADDRINUSE
                why = (
                    f"port {one} is taken; name another with --port"
                    if busy
                    else f"{error}; see --port and --host"
                )
                raise UsageError(f"cannot listen on {address}: {why}") from None
    raise AssertionError("one of them was tried last")


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def nothing(environ: object, start_response: object) -> list[bytes]:
    """Stands in until the application is made, which must know its port."""
    return []
