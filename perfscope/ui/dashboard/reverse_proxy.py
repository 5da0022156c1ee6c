"""The dashboard under a path of a reverse proxy, as `--base-path /perfscope` asks for.

The application itself knows only paths from the root. Requests lose the prefix on their way in,
whether the proxy strips it or not, and addresses in responses get it on their way out.

A proxy may pass on its own host name. The names that `guard` accepts do not cover it, so a request
is passed on under ours, provided that its origin is the host it was sent to. What keeps out other
sites, and pages whose name resolves to this machine, is the token: its cookie is never sent for
another site.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from perfscope.errors import UsageError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BASE_PATH = re.compile(r"(?:/[\w.~-]+)+")
LARGEST_REWRITTEN_BYTES = 1 << 20
"""Of a request's body; the guard refuses larger ones."""
CALLBACK = "/_dash-update-component"
LAYOUT = "/_dash-layout"
REPORT = re.compile(r"/run/[^/]+\.html")
IN_HTML = re.compile(r'((?:\b(?:href|src|action)="|;url=))(/(?!/))')
IN_JSON = re.compile(r'("(?:href|data-timeline)":\s*")((?:/|\\u002f)(?!/|\\u002f))')
"""Dash escapes slashes in JSON."""


def normalized_base_path(given: str | None) -> str:
    """Return the path without a slash at its end, `""` for none. Raises UsageError."""
    path = (given or "").rstrip("/")
    has_dots = not {".", ".."}.isdisjoint(path.split("/"))  # browsers remove such parts
    if path and (has_dots or not BASE_PATH.fullmatch(path)):
        raise UsageError(f"--base-path {given!r} is not a path such as /perfscope.")
    return path


class ReverseProxyPath:
    """A WSGI application that serves another one under a path."""

    def __init__(self, application: "WSGIApplication", base_path: str, host: str) -> None:
        """`host` is the name and port under which the application accepts requests."""
        self.application = application
        self.base_path = base_path
        self.host = host

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        environ["PATH_INFO"] = self.without_base_path(environ.get("PATH_INFO", ""))
        self.rename_host(environ)
        environ.pop("HTTP_ACCEPT_ENCODING", None)  # addresses in compressed bytes are not found
        path = environ["PATH_INFO"]
        if path == CALLBACK:
            self.rewrite_callback(environ)
        return self.respond(environ, start_response, self.pattern_of(path))

    def pattern_of(self, path: str) -> "re.Pattern[str] | None":
        """Return what finds the addresses in the response to a request."""
        if path in (CALLBACK, LAYOUT):
            return IN_JSON
        return None if REPORT.fullmatch(path) else IN_HTML

    def without_base_path(self, path: str) -> str:
        """Return a path of ours from a path of the proxy's."""
        if path == self.base_path:
            return "/"
        return path[len(self.base_path) :] if path.startswith(f"{self.base_path}/") else path

    def with_base_path(self, path: str) -> str:
        """Return a path of the proxy's from a path of ours."""
        is_external = not path.startswith("/") or path.startswith("//")
        if is_external or path.startswith(f"{self.base_path}/"):
            return path
        return f"{self.base_path}{path}"

    def rename_host(self, environ: "WSGIEnvironment") -> None:
        """Put our host name in place of the proxy's, and our origin in place of an origin at it."""
        origin = environ.get("HTTP_ORIGIN")
        names = {environ.get("HTTP_HOST", ""), environ.get("HTTP_X_FORWARDED_HOST", "")}
        if origin is not None:
            if host_of(origin) not in {name.lower() for name in names if name}:
                return  # a page of another site: the guard refuses it
            environ["HTTP_ORIGIN"] = f"http://{self.host}"
        environ["HTTP_HOST"] = self.host

    def rewrite_callback(self, environ: "WSGIEnvironment") -> None:
        """Remove the base path from the page's address, which callbacks take as an input."""
        length = environ.get("CONTENT_LENGTH", "")
        if not length.isdecimal() or int(length) > LARGEST_REWRITTEN_BYTES:
            return
        body = environ["wsgi.input"].read(int(length))
        with suppress(ValueError, RecursionError):  # the application refuses it
            body = self.without_base_paths(body)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))

    def without_base_paths(self, body: bytes) -> bytes:
        """Return the body of a callback's request without the base path in its addresses. Raises
        ValueError, and RecursionError for one that is nested too deeply.
        """
        content = json.loads(body)
        for value in callback_values(content):
            pathname = value.get("value")
            if value.get("property") == "pathname" and isinstance(pathname, str):
                value["value"] = self.without_base_path(pathname)
        return json.dumps(content).encode()

    def respond(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        pattern: "re.Pattern[str] | None",
    ) -> Iterable[bytes]:
        """Answer with the base path in the addresses that `pattern` finds, and in redirects."""
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[..., Any]:
            started[:] = [status, headers, *error]
            return lambda data: None

        chunks = self.application(environ, start)
        body = b"".join(chunks)
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
        status, headers, *error = started
        kind = next((value for name, value in headers if name.lower() == "content-type"), "")
        if pattern is not None and kind.startswith(("text/html", "application/json")):
            body = self.with_addresses(body, pattern)
        start_response(status, self.with_locations(headers, len(body)), *error)
        return [body]

    def with_addresses(self, body: bytes, pattern: "re.Pattern[str]") -> bytes:
        """Return the body with the base path in its addresses."""

        def prefixed(match: "re.Match[str]") -> str:
            rest = match.string[match.start(2) : match.start(2) + len(self.base_path) + 1]
            is_prefixed = rest == f"{self.base_path}/"
            return match[0] if is_prefixed else f"{match[1]}{self.base_path}{match[2]}"

        text = body.decode("utf-8", "surrogateescape")
        return pattern.sub(prefixed, text).encode("utf-8", "surrogateescape")

    def with_locations(
        self, headers: list[tuple[str, str]], body_bytes: int
    ) -> list[tuple[str, str]]:
        """Return the headers with the base path in redirects, and the length of the body."""
        result = []
        for name, value in headers:
            if name.lower() == "location":
                value = self.with_base_path(value)
            elif name.lower() == "content-length" and body_bytes:
                value = str(body_bytes)
            result.append((name, value))
        return result


def host_of(origin: str) -> str:
    """Return the host and port of an origin, in small letters."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def callback_values(content: object) -> Iterator[dict[str, Any]]:
    """Yield the inputs and states in the body of a callback's request, however nested."""
    pending = [content]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            yield found
            pending += found.values()
        elif isinstance(found, list):
            pending += found
