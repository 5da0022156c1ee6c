"""Who may ask the dashboard: this machine by default, whoever knows the token from elsewhere, and no foreign page ever."""

import hmac
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlsplit

import flask
import psutil

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LONGEST_TOKEN = 256
SIGN_IN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>perfscope</title>
<link rel="stylesheet" href="/own/style.css"><main><section class="card notice"><h1>This dashboard asks for its token</h1>
<p>The terminal that started it printed an address that ends in <code>?token=…</code>: open that one, or paste the token here.</p>
<form method="post" action="/own/token"><input type="password" name="token" aria-label="token" autofocus required>
<button class="button main">Open</button></form><p class="muted">{said}</p></section></main></html>"""


@dataclass(frozen=True)
class Gate:
    """`open_here`: pages need no token. Control actions always do."""

    port: int
    address: str = "127.0.0.1"
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def open_here(self) -> bool:
        return self.address in ("127.0.0.1", "localhost", "::1")

    @property
    def cookie(self) -> str:
        return f"perfscope-{self.port}"

    def hosts(self) -> set[str]:
        """The names under which we may be asked: a page of another name that leads here (DNS rebinding) is refused."""
        names = set(LOOPBACK)
        if not self.open_here:
            names |= {self.address, socket.gethostname(), socket.getfqdn()}
            names |= {
                one.address for every in psutil.net_if_addrs().values() for one in every if one.family.name == "AF_INET"
            }
        return {f"{name}:{self.port}".lower() for name in names}

    def knows_token(self, request: flask.Request) -> bool:
        """Does the browser hold the token?"""
        return self.right(request.cookies.get(self.cookie, ""))

    def right(self, given: str) -> bool:
        return len(given) <= LONGEST_TOKEN and hmac.compare_digest(given.encode(), self.token.encode())


def guard(server: flask.Flask, gate: Gate, hashes: Callable[[], list[str]]) -> None:
    """Put the gate before everything that `server` answers, and say in every answer what a page may load."""
    allowed = gate.hosts()

    def before() -> flask.typing.ResponseReturnValue | None:
        request = flask.request
        if request.host.lower() not in allowed:
            return refused(f"asked as {request.host!r}: open it under the address that the terminal printed")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
            return refused("asked by a page of another site")
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method != "GET":
            return refused("asked by a page of another site")
        given = request.args.get("token")
        if given is not None and request.method == "GET":
            return signed_in(gate, request.path) if gate.right(given) else sign_in("That is not its token.")
        if gate.open_here or gate.knows_token(request) or request.path.startswith("/own/"):
            return None
        return sign_in("")

    def token() -> flask.typing.ResponseReturnValue:
        return (
            signed_in(gate, "/")
            if gate.right(flask.request.form.get("token", ""))
            else sign_in("That is not its token.")
        )

    def after(answer: flask.Response) -> flask.Response:
        scripts = " ".join(("'self'", *(f"'{one.strip(chr(39))}'" for one in hashes())))
        policy = (
            f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        )
        policy += "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        if not flask.request.path.endswith(".html"):  # a report is a page of its own, with its script inside
            answer.headers["Content-Security-Policy"] = policy
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["X-Frame-Options"] = "DENY"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    server.before_request(before)
    server.after_request(after)
    server.add_url_rule("/own/token", "own-token", token, methods=["POST"])


def refused(why: str) -> flask.Response:
    return flask.Response(f"perfscope: refused, {why}\n", 403, mimetype="text/plain")


def sign_in(said: str) -> flask.Response:
    return flask.Response(SIGN_IN.replace("{said}", escape(said)), 401, mimetype="text/html")


def signed_in(gate: Gate, path: str) -> flask.Response:
    """To the page without the token in its address; the browser keeps it where no script can read it."""
    answer = flask.redirect("/" + path.lstrip("/\\"))
    answer.set_cookie(gate.cookie, gate.token, httponly=True, samesite="Strict")
    made: flask.Response = flask.make_response(answer)
    return made
