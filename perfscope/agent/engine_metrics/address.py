"""The address of a metrics page."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from perfscope.errors import UsageError

SCHEMES: Final = ("http", "https")
LONGEST_ADDRESS: Final = 2000


@dataclass(frozen=True)
class PageAddress:
    """Where a metrics page is: `http://host:port/path`."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def place(self) -> str:
        """The host and port, as in an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address, without a query: that may hold a secret."""
        return f"{self.scheme}://{self.place}{self.path.partition('?')[0]}"


def is_page_address(text: str) -> bool:
    """Return whether a text names a page on the network and not a file."""
    return text.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_page_address(text: str) -> PageAddress:
    """Return the address in a text; the path is /metrics where it has none. Raises UsageError."""
    advice = "Give it as http://HOST:PORT/metrics."
    is_clean = text.isprintable() and text.isascii() and " " not in text
    # What precedes an @ may be a password, also in an address that cannot be taken apart.
    shown = "this" if "@" in text else repr(text[:80])
    if len(text) > LONGEST_ADDRESS or not is_clean or not is_page_address(text):
        raise UsageError(f"{shown} is not an address of a metrics page. {advice}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{shown} is not an address of a metrics page. {advice}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"perfscope sends no user names and passwords. {advice}")
    if not host or port == 0:
        raise UsageError(f"{shown} names no host. {advice}")
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    query = f"?{parts.query}" if parts.query else ""
    scheme = parts.scheme.lower()
    default_port = 443 if scheme == "https" else 80
    return PageAddress(scheme, host, port or default_port, path + query)
