"""The checks before every request, and the headers of every response, by route."""

from collections.abc import Callable

import flask
from dash.exceptions import DependencyException

from perfscope.ui.dashboard import sign_in
from perfscope.ui.dashboard.auth import PARAMETER, Access, is_loopback, local_place

APP_ROUTES = frozenset(("/", "/<path:path>"))
"""The routes at which Dash serves the page that loads the application."""
REPORT_ROUTE = "own-report"
PAGE_ROUTES = APP_ROUTES | {REPORT_ROUTE}
COMPONENT_FILES = "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"
ALLOWED_METHODS = ("GET", "HEAD", "POST")
LARGEST_BODY_BYTES = 1 << 20
STATIC_FILES = frozenset(
    (
        "page-style",
        "page-script",
        "timeline.script",
        "timeline.style",
        "/_favicon.ico",
        COMPONENT_FILES,
    )
)
"""The routes of files that contain nothing of a run, such as plotly: browsers may cache them."""
LOAD_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
Hashes = Callable[[], list[str]]


def guard(server: flask.Flask, access: Access, hashes: Hashes) -> None:
    """Check every request to `server`, and set the headers of every response.

    `hashes` returns the hashes of the scripts in the application's page, for its content security
    policy.
    """
    hosts = access.hosts
    server.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES

    def before() -> flask.Response | None:
        request = flask.request
        why = refusal_reason(request, hosts)
        if why is not None:
            return text_response(f"perfscope: refused: {why}", 403)
        if request.method not in ALLOWED_METHODS:
            return text_response("perfscope: this method is not supported", 405)
        given = request.args.get(PARAMETER)
        if given is not None and access.token is not None and asks_for_page(request):
            return sign_in.by_address(access, request, given)
        if access.admits(request) or request.endpoint == sign_in.ENDPOINT:
            return None
        if asks_for_page(request):
            return sign_in.form(local_place(request.path, request.args.items(multi=True)))
        return text_response(
            "perfscope: this needs the token; open the address that the terminal printed", 401
        )

    def after(response: flask.Response) -> flask.Response:
        return with_headers(response, flask.request.endpoint, hashes, is_loopback(access.address))

    server.before_request(before)
    server.after_request(after)
    server.register_error_handler(
        DependencyException, lambda _: text_response("perfscope: no such file", 404)
    )
    server.add_url_rule(
        sign_in.PATH,
        sign_in.ENDPOINT,
        lambda: sign_in.answer_form(access, flask.request),
        methods=["POST"],
    )


def asks_for_page(request: flask.Request) -> bool:
    return request.endpoint in PAGE_ROUTES and request.method in ("GET", "HEAD")


def refusal_reason(request: flask.Request, hosts: frozenset[str]) -> str | None:
    """Return why a request is refused whatever token it holds, None where it is not."""
    host = request.headers.get("Host", "").lower()
    if host not in hosts:
        return "the host name is not this dashboard's; open the address that the terminal printed"
    origin = request.headers.get("Origin")
    if origin is None and request.method not in ("GET", "HEAD"):
        return "a request that changes something must name its origin"
    if origin is not None and origin.lower() != f"http://{host}":
        return "the request comes from a page of another site"
    if (
        "Transfer-Encoding" in request.headers
    ):  # no browser sends a request so, and a malformed one ends in a traceback
        return "a request must say its length"
    if request.headers.get("Sec-Fetch-Site", "none") not in (
        "same-origin",
        "none",
    ) and not is_navigation(request):
        return "the request comes from a page of another site"
    return None


def is_navigation(request: flask.Request) -> bool:
    """Return whether a browser opens a page of ours in a tab, as it does for a link on another
    site.
    """
    fetch = [request.headers.get(f"Sec-Fetch-{name}") for name in ("Mode", "Dest")]
    return asks_for_page(request) and fetch == ["navigate", "document"]


def with_headers(
    response: flask.Response, endpoint: str | None, hashes: Hashes, local: bool
) -> flask.Response:
    """Set what a browser may do with a response; a policy that a view has set stays."""
    headers = response.headers
    if "Content-Security-Policy" not in headers:
        headers["Content-Security-Policy"] = policy_of(endpoint, hashes)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault("Referrer-Policy", "no-referrer")
    if endpoint not in STATIC_FILES:
        headers.setdefault("Cache-Control", "no-store")
    if (
        local and endpoint in APP_ROUTES
    ):  # elsewhere plain HTTP is not a secure context, and browsers report it
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def policy_of(endpoint: str | None, hashes: Hashes) -> str:
    """Return the content security policy of a route: what its page may load.

    A response that is not a page may load nothing.
    """
    if endpoint in APP_ROUTES:
        scripts = " ".join(["'self'", *(f"'{digest.strip(chr(39))}'" for digest in hashes())])
        loads = (
            f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src"
            " 'self' data: blob:"
        )
        return (
            f"{loads}; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self';"
            " frame-ancestors 'none'"
        )
    if endpoint == REPORT_ROUTE:
        from perfscope.ui.html.report import script_hashes

        scripts = " ".join(f"'{digest}'" for digest in script_hashes())
        loads = (
            f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:"
            " blob:"
        )
        # In the sandbox the report has a separate origin: it cannot request anything from the
        # dashboard.
        return f"{loads}; sandbox allow-scripts allow-downloads; {LOAD_NOTHING.partition('; ')[2]}"
    return LOAD_NOTHING


def text_response(text: str, status: int) -> flask.Response:
    """Return a response of plain text."""
    return flask.Response(f"{text}\n", status, mimetype="text/plain")
