"""Access to the dashboard: its token, the cookie that replaces it, and its host names."""

import base64
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

import flask
import psutil

from perfscope.errors import UsageError

TOKEN_BYTES = 32
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
PARAMETER = "token"
CLIENT_USER = "perfscope.client_user"
"""In the WSGI environment: a function that returns the uid of the client, None if unknown."""
UNQUOTED = "/:@!$&'()*+,;=-._~"


@dataclass(frozen=True)
class Access:
    """The access rules of the server on `port`; without a `token` every local user has access."""

    port: int
    address: str = "127.0.0.1"
    token: str | None = field(
        default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES), repr=False
    )
    base_path: str = ""
    """The path under which a reverse proxy serves it, without a slash at its end."""

    def __post_init__(self) -> None:
        if self.token is None:
            refuse_without_token(self.address)
        if self.token is None and self.base_path:
            raise UsageError(
                "behind a proxy the dashboard needs its token. Remove --no-token or --base-path."
            )

    @property
    def cookie(self) -> str:
        """The name of the cookie. Browsers send cookies to every port of a host, so the name holds
        the port.
        """
        return f"perfscope-{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """The `Host` headers that are answered. Others come from a page whose name resolves to us
        (DNS rebinding).
        """
        names = {*LOOPBACK_NAMES, in_url(self.address)}
        if not is_loopback(self.address):
            names |= {socket.gethostname(), socket.getfqdn(), *interface_addresses()}
        return frozenset(f"{name}:{self.port}".lower() for name in names)

    def accepts(self, given: str) -> bool:
        """Return whether `given` is the token, in a time that does not depend on where it
        differs.
        """
        if self.token is None:
            return True
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def admits(self, request: flask.Request) -> bool:
        """Return whether the browser holds the cookie.

        Several may have the name: a server on another port of this host can set one for a longer
        path.
        """
        given = request.cookies.getlist(self.cookie)
        if self.token is None or not given:
            return self.token is None
        expected = self.cookie_value(user_of_request(request)).encode()
        return any(hmac.compare_digest(each.encode("utf-8", "replace"), expected) for each in given)

    def cookie_value(self, user: int | None) -> str:
        """Return the value of the cookie for the user with this uid, None for an unknown one.

        Browsers send the cookie to every port of this host, and another user can serve one of them.
        So it is not the token, and it gives another user of this machine no access.
        """
        digest = hmac.digest((self.token or "").encode(), f"cookie {user}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def remember(self, request: flask.Request, response: flask.Response) -> flask.Response:
        """Make the browser keep the cookie where no script can read it and no other site can use
        it.
        """
        if self.token is not None:
            response.set_cookie(
                self.cookie,
                self.cookie_value(user_of_request(request)),
                path=f"{self.base_path}/",
                httponly=True,
                samesite="Strict",
            )
        return response

    def url(self, path: str = "/") -> str:
        """Return the address of a page, with the token where one is needed."""
        unspecified = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = in_url(unspecified.get(self.address, self.address))
        query = f"?{PARAMETER}={self.token}" if self.token is not None else ""
        return f"http://{host}:{self.port}{self.base_path}{path}{query}"


def user_of_request(request: flask.Request) -> int | None:
    """Return the uid of the process that sent a request, None if it is unknown."""
    user_of_client: Callable[[], int | None] = request.environ.get(CLIENT_USER, lambda: None)
    return user_of_client()


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach a server at `address`."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def refuse_without_token(address: str) -> None:
    """Raise UsageError where a server without a token could be reached from another machine."""
    if not is_loopback(address):
        raise UsageError(
            f"--no-token works on loopback only: leave out --host {address}, or --no-token"
        )


def in_url(address: str) -> str:
    """Return an address as it is written in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def interface_addresses() -> Iterable[str]:
    """Yield the addresses of this machine, as written in URLs."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                yield in_url(address.address.partition("%")[0])


def without_token(target: str) -> str:
    """Return a path with its query as an address on this server, without a token, whatever `target`
    holds.
    """
    path, _, query = target.partition("?")
    return local_place(path, parse_qsl(query, keep_blank_values=True))


def local_place(path: str, query: Iterable[tuple[str, str]]) -> str:
    """Return an address on this server, without a token.

    A path that begins with two slashes or backslashes would be another host's.
    """
    kept = urlencode(
        [(name, value) for name, value in query if name != PARAMETER], errors="replace"
    )
    place = "/" + quote(path.lstrip("/\\"), safe=UNQUOTED, errors="replace")
    return f"{place}?{kept}" if kept else place
