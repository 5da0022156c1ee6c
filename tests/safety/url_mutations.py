"""Requests as a hostile client would send them: those of our own pages, changed at random in
address, headers and body.
"""

import copy
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.ui.dashboard_client import PORT

BITS = [
    "..",
    "../" * 9,
    "..%2f" * 9,
    "%2e%2e/",
    "....//",
    "//",
    "\\",
    "..\\",
    "%5c..",
    "%00",
    "%0d%0aX-Injected:1",
    "\r\n",
    "%ff%fe",
    "%c0%ae",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "OUTSIDE",
    "../OUTSIDE/secret.json",
    "link",
    "link/secret.json",
    ".html",
    ".html.html",
    ";",
    "?",
    "#",
    "&",
    "=",
    "%",
    "%zz",
    "{}",
    "[]",
    "<script>",
    "é",
    "\U0001f680",
    "\ud800",
    "~root",
    ".",
    " ",
    "\t",
    "*",
    "a" * 3000,
    "token=",
    "page",
    "sign-in",
    "timeline",
    "run",
    "_dash-layout",
    "assets",
    "static",
    "null",
    "None",
    "__class__",
    "'",
    '"',
    "`",
    "%s%n",
]
NUMBERS = [
    "0",
    "-1",
    "1",
    "9" * 40,
    "9" * 5000,
    "-" + "9" * 30,
    "1e9",
    "0x10",
    "1_000",
    "١٢",
    "²",
    "nan",
    "inf",
    " 5",
    "5 ",
    "",
    "1.5",
    str(1 << 62),
    str(-(1 << 62)),
    str(1 << 31),
    "0-1023",
    "0-99999999",
    "5-2",
    ",",
    "1,1,1",
    "-",
    "0-",
    "+5",
    "5" * 24,
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    "../../etc/passwd",
    "/run/../../etc/passwd",
    [None],
    {"id": None},
    {"props": {}},
    "a" * 5000,
    ["a", {"b": []}],
    "/run/OUTSIDE/overview",
    "?" + "&" * 900,
    {"__proto__": 1},
]
HEADERS: dict[str, list[str]] = {
    "HTTP_HOST": [
        f"127.0.0.1:{PORT}",
        "evil",
        "",
        "127.0.0.1",
        f"[::1]:{PORT}",
        "[",
        "\x00",
        "a" * 5000,
        f"localhost:{PORT}",
        "é",
        "a,b",
        "127.0.0.1:99999999",
    ],
    "HTTP_ORIGIN": [
        "null",
        f"http://127.0.0.1:{PORT}",
        "http://evil",
        "",
        "http://[",
        "\xff",
        "file://",
    ],
    "HTTP_COOKIE": [
        "",
        "perfscope-8050=",
        "perfscope-8050=\xff",
        ";" * 500,
        'perfscope-8050="\\777\\',
        "a=b; a=c",
    ],
    "CONTENT_TYPE": [
        "",
        "text/plain",
        "application/json; charset=utf-7",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "\xff",
        "application/json;" * 99,
    ],
    "CONTENT_LENGTH": ["", "0", "-5", "9" * 30, "abc", "3"],
    "HTTP_TRANSFER_ENCODING": ["chunked"],
    "HTTP_RANGE": ["bytes=0-1", "bytes=-", "x"],
    "HTTP_IF_NONE_MATCH": ["*", '"', "W/", "\xff"],
    "HTTP_IF_MODIFIED_SINCE": ["x", "Thu, 99 Foo 9999"],
    "HTTP_SEC_FETCH_SITE": ["cross-site", "same-origin", "none", ""],
    "HTTP_X_FORWARDED_HOST": ["evil"],
    "HTTP_X_FORWARDED_PREFIX": ["/evil"],
    "HTTP_AUTHORIZATION": ["Basic !!", "Bearer x", "Digest", "\xff"],
    "SCRIPT_NAME": ["/evil"],
}
METHODS = ["GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "get", "TRACE", "", "G\x00T"]
QUERIES = {
    "meta": "",
    "names": "first=0&count=10",
    "strip": "columns=64",
    "search": "words=step",
    "event": "lane=0&at=1000",
    "tile": "from=0&to=900000&pixels=64&lanes=0-3",
    "select": "from=0&to=900000&lanes=0-9&by=name&most=5",
    "hit": "words=step&at=0&lane=0",
}


@dataclass
class Asking:
    """One request; `headers` are entries of the WSGI environment."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def environ(self, base: dict[str, Any]) -> dict[str, Any]:
        """What the server makes of it: the path unquoted, text as Latin-1."""

        def dance(text: str) -> str:
            return text.encode("utf-8", "replace").decode("latin-1")

        body = {
            "wsgi.input": io.BytesIO(self.body),
            "CONTENT_LENGTH": str(len(self.body)),
            "REQUEST_METHOD": self.method,
        }
        place = {"PATH_INFO": dance(unquote(self.path)), "QUERY_STRING": dance(self.query)}
        return {**base, **body, **place, **self.headers}


def seeds(runs: list[str], callbacks: dict[str, Any], scripts: list[str]) -> list[Asking]:
    """What our own pages ask, for every run, every callback and the first of the scripts that they
    load.
    """
    found = [
        Asking("GET", path)
        for path in (
            "/",
            "/page/style.css",
            "/page/script.js",
            "/timeline/component.js",
            "/sign-in/token",
        )
    ]
    found += [
        Asking("GET", f"/{name}")
        for name in ("_dash-layout", "_dash-dependencies", "_favicon.ico", "_reload-hash")
    ]
    found += [Asking("GET", *path.split("?")) for path in scripts[:3]]
    found += [Asking("GET", f"/{name}/x.css") for name in ("assets", "static")]
    found.append(
        Asking(
            "POST",
            "/sign-in/token",
            body=b"token=x&next=%2F",
            headers={"CONTENT_TYPE": "application/x-www-form-urlencoded"},
        )
    )
    for run in runs:
        found += [Asking("GET", f"/run/{run}/{page}") for page in ("overview", "input", "timeline")]
        found += [
            Asking("GET", f"/timeline/{run}/{name}", query) for name, query in QUERIES.items()
        ] * 2
        found.append(Asking("GET", f"/run/{run}.html"))
        for output, callback in callbacks.items():
            if "callback" in callback:
                found += [called(output, callback, run) for _ in range(3)]
    return found


def called(output: str, callback: dict[str, Any], run: str) -> Asking:
    """A callback asked for as the page of a run does."""
    values = {
        "pathname": f"/run/{run}/overview",
        "search": "",
        "n_intervals": 1,
        "n_clicks": 1,
        "value": 12,
        "data": {},
    }

    def filled(those: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**parameter, "value": values.get(parameter["property"])} for parameter in those]

    first = callback["inputs"][0]
    body = {
        "output": output,
        "outputs": outputs_of(callback["output"]),
        "inputs": filled(callback["inputs"]),
        "state": filled(callback["state"]),
        "changedPropIds": [f"{first['id']}.{first['property']}"],
    }
    text = json.dumps(body).encode()
    return Asking("POST", "/_dash-update-component", "", text, {"CONTENT_TYPE": "application/json"})


def outputs_of(outputs: Any) -> Any:
    """The outputs as a page names them; of those of all charts three."""
    if isinstance(outputs, list):
        return [outputs_of(entry) for entry in outputs]
    place, name = outputs.component_id, outputs.component_property
    if isinstance(place, dict) and not isinstance(place["name"], str):
        return [
            {"id": {**place, "name": chart}, "property": name} for chart in ("beat", "queue", "no")
        ]
    return {"id": place, "property": name}


def mutated(seed: Asking, rng: random.Random) -> Asking:
    """The request with one to three changes."""
    made = copy.deepcopy(seed)
    ways: list[Callable[[Asking, random.Random], None]] = [
        change_path,
        change_query,
        change_header,
        change_body,
        change_body,
        change_query,
    ]
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(ways)(made, rng)
    if rng.random() < 0.02:
        made.method = rng.choice(METHODS)
    return made


def change_path(asking: Asking, rng: random.Random) -> None:
    parts = asking.path.split("/")
    at, bit = rng.randrange(len(parts)), rng.choice(BITS)
    kind = rng.randrange(5)
    if kind == 0:
        parts[at] = bit
    elif kind == 1:
        parts.insert(at, bit)
    elif kind == 2:
        parts[at] += bit
    elif kind == 3:
        del parts[at]
    else:
        parts[at] = parts[at][: rng.randrange(len(parts[at]) + 1)] + bit + parts[at]
    asking.path = "/" + "/".join(parts).removeprefix("/") if rng.random() < 0.9 else "/".join(parts)


def change_query(asking: Asking, rng: random.Random) -> None:
    pairs = [part.partition("=")[::2] for part in asking.query.split("&") if part] or [
        ("token", "x")
    ]
    at = rng.randrange(len(pairs))
    name, value = pairs[at]
    pairs[at] = rng.choice(
        [
            (name, rng.choice(NUMBERS)),
            (name, rng.choice(BITS)),
            (rng.choice(BITS), value),
            (name, value + rng.choice(NUMBERS)),
        ]
    )
    if rng.random() < 0.2:
        pairs.append((name, rng.choice(NUMBERS)))
    asking.query = "&".join(f"{name}={value}" for name, value in pairs)


def change_header(asking: Asking, rng: random.Random) -> None:
    name = rng.choice(list(HEADERS))
    asking.headers[name] = rng.choice(HEADERS[name])


def change_body(asking: Asking, rng: random.Random) -> None:
    """A value somewhere in the JSON, or bytes of the text."""
    if not asking.body:
        return change_query(asking, rng)
    try:
        whole = json.loads(asking.body)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict) and rng.random() < 0.8:
        change_value(whole, rng)
        asking.body = json.dumps(whole).encode()
        return None
    kind = rng.randrange(4)
    at = rng.randrange(len(asking.body))
    if kind == 0:
        asking.body = asking.body[:at]
    elif kind == 1:
        asking.body = asking.body[:at] + rng.randbytes(rng.randrange(1, 9)) + asking.body[at:]
    elif kind == 2:
        asking.body = b"[" * rng.choice((10, 5000, 200_000))
    else:
        asking.body = rng.choice(
            [
                b"null",
                b"[]",
                b"{}",
                b'"x"',
                b"{" * 9,
                b"\xff\xfe",
                b"x" * (2 << 20),
                b'{"output": null}',
            ]
        )
    return None


def change_value(whole: Any, rng: random.Random) -> None:
    """Replace, remove or add one value anywhere in plain data; those that callbacks get most
    often.
    """
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in (
            part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        ):
            places.extend([(part, key)] * (4 if key == "value" else 1))
            walk(part[key])

    walk(whole)
    if not places:
        return
    part, key = rng.choice(places)
    if rng.random() < 0.8:
        part[key] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(part, dict):
        del part[key]
        if rng.random() < 0.5:
            part[rng.choice(BITS)] = rng.choice(VALUES)
    else:
        part.insert(key, rng.choice(VALUES))
