"""The form for the token that a browser without the cookie gets.

It needs no other file and contains nothing of any run.
"""

import base64
import hashlib
from functools import cache
from html import escape

import flask

from perfscope.ui.dashboard.auth import Access, local_place, without_token
from perfscope.ui.html.page_style import asset, variables
from perfscope.ui.theme import DARK, LIGHT

PATH, ENDPOINT = "/sign-in/token", "sign-in-token"
WRONG = "This is not the token of this dashboard."
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>perfscope</title>"""
FORM = """<style>{style}</style></head><body><main><h1>Enter the access token</h1>
<p>The command that started this dashboard printed an address with <code>?token=…</code>.
Open that address, or paste the token here.</p>
<form method="post" action="{action}"><input type="hidden" name="next" value="{next}">
<input type="password" name="token" aria-label="Token" placeholder="Token"
 autocomplete="off" autofocus required>
<button>Open</button></form><p role="alert">{message}</p></main></body></html>
"""
FORWARD = """<meta http-equiv="refresh" content="0;url={place}"></head>
<body><p><a href="{place}">Open the dashboard</a></p></body></html>
"""


def form(place: str, message: str = "") -> flask.Response:
    """Return the form for the token; it redirects to `place` afterwards."""
    text = HEAD + FORM.format(
        style=form_style(), action=PATH, next=escape(place), message=escape(message)
    )
    response = flask.Response(text, 401, mimetype="text/html")
    digest = base64.b64encode(hashlib.sha256(form_style().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'"
    response.headers["Content-Security-Policy"] = (
        f"{policy}; base-uri 'none'; frame-ancestors 'none'"
    )
    # Under `no-referrer` a browser sends the form with `Origin: null`, as a page of another site
    # could.
    response.headers["Referrer-Policy"] = "strict-origin"
    return response


@cache
def form_style() -> str:
    """Return the style of the form, in the color scheme of the system."""
    dark = "@media (prefers-color-scheme:dark){" + variables("html", DARK) + "}"
    return variables("html", LIGHT) + dark + asset("sign_in.css")


def answer_form(access: Access, request: flask.Request) -> flask.Response:
    """Answer the form: set the cookie and redirect, or show the form again."""
    place = without_token(request.form.get("next", "/"))
    if not access.accepts(request.form.get("token", "")):
        return form(place, WRONG)
    return access.remember(request, redirect(place))


def by_address(access: Access, request: flask.Request, given: str) -> flask.Response:
    """Answer an address with a token: set the cookie and redirect to the address without it."""
    place = local_place(request.path, request.args.items(multi=True))
    if not access.accepts(given):
        return form(place, WRONG)
    crossing = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
    return access.remember(request, page_that_redirects(place) if crossing else redirect(place))


def redirect(place: str) -> flask.Response:
    """Return a redirect to an address of the dashboard."""
    return flask.Response("", 302, {"Location": place}, mimetype="text/plain")


def page_that_redirects(place: str) -> flask.Response:
    """Return a page that opens another page.

    After a link on another site a browser would follow a redirect without the new cookie, which is
    `SameSite=Strict`.
    """
    return flask.Response(HEAD + FORWARD.format(place=escape(place)), 200, mimetype="text/html")
