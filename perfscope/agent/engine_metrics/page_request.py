"""One GET of a metrics page: bounded in time and size; no redirects, no proxies, no credentials."""

import http.client
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from perfscope.agent.engine_metrics.address import PageAddress
from perfscope.traces.engine_metrics.page import MOST_PAGE_BYTES, BadPage

REQUEST_S: Final = 5.0
"""How long one request may take, from looking up the host to the last byte."""
HEADERS: Final = {
    "Accept": "text/plain",
    "User-Agent": "perfscope",
    "Connection": "close",
    "Accept-Encoding": "identity",
}


class TooSlow(Exception):
    """The time of a request is over."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the block after some seconds, in whatever call it is.

    Only for the main thread of a process that uses SIGALRM for nothing else.
    """

    def give_up(number: int, frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def get_page(address: PageAddress, limit_s: float = REQUEST_S) -> bytes:
    """Return the body of a page. Raises BadPage with the reason.

    A server that sends a byte at a time is stopped by the limit on the whole request.
    """
    try:
        with time_limit(limit_s):
            return request_body(address, limit_s)
    except (TooSlow, TimeoutError):
        raise BadPage(f"it did not answer within {limit_s:g} s") from None
    except ssl.SSLError as error:
        raise BadPage(f"TLS failed: {error.reason or error}") from None
    except (socket.gaierror, UnicodeError):  # a host that is not a name
        raise BadPage(f"the host {address.host} is unknown") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        raise BadPage(f"no connection: {reason}") from None
    except http.client.HTTPException as error:
        raise BadPage(f"it did not answer in HTTP: {type(error).__name__}") from None
    except ValueError:
        raise BadPage("it did not answer in HTTP") from None


def request_body(address: PageAddress, limit_s: float) -> bytes:
    """Return the body of the answer to one GET. Raises BadPage, OSError and HTTPException."""
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=limit_s)
    try:
        connection.request("GET", address.path, headers=HEADERS)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise BadPage(refusal_text(answer.status))
        coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise BadPage("the page is compressed although perfscope asks for plain text")
        body = answer.read(MOST_PAGE_BYTES + 1)
        # A read with a size reports no error where the server closes the connection early.
        missing_bytes = answer.length or 0
    finally:
        connection.close()
    if len(body) + missing_bytes > MOST_PAGE_BYTES:
        raise BadPage(f"the page is larger than {MOST_PAGE_BYTES >> 20} MB")
    if missing_bytes > 0:
        raise BadPage(f"it sent {len(body)} of {len(body) + missing_bytes} bytes of the page")
    return body


def refusal_text(status: int) -> str:
    """Return what a status other than 200 means for the user."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"it asks for credentials (HTTP {status}), and perfscope sends none"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"it redirects (HTTP {status}), and perfscope does not follow"
    if status == HTTPStatus.NOT_FOUND:
        return "there is no such page (HTTP 404)"
    return f"it answered HTTP {status}"
