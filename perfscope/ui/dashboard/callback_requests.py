"""The check of requests to callbacks: a request that no page of the dashboard makes is refused.

Dash trusts the names in a request, and answers a request that does not fit with a traceback.
"""

from collections.abc import Mapping
from typing import Any

import flask
from dash import ALL, Dash, Output
from werkzeug.exceptions import BadRequest

from perfscope.ui.dashboard.request_checks import text_response

ENDPOINT = "/_dash-update-component"


def check_callbacks(app: Dash) -> None:
    """Refuse requests whose callback, inputs, state or outputs are not as registered."""

    def before() -> None:
        if flask.request.endpoint == ENDPOINT and not fits_callback(
            app.callback_map, body_of(flask.request)
        ):
            raise BadRequest("no page makes this request")

    app.server.before_request(before)
    app.server.register_error_handler(BadRequest, refused)


def refused(error: BadRequest) -> flask.Response:
    """Return the response to a request that was refused."""
    return text_response(f"perfscope: refused: {error.description}", 400)


def body_of(request: flask.Request) -> Any:
    """Return the JSON of a request. Raises BadRequest; Flask keeps it for Dash."""
    try:
        return request.get_json()
    except RecursionError:
        raise BadRequest("the request is nested too deeply") from None


def fits_callback(callbacks: Mapping[str, Mapping[str, Any]], body: Any) -> bool:
    """Return whether a body requests a callback as a page of the dashboard does."""
    if not isinstance(body, dict) or not isinstance(body.get("output"), str):
        return False
    callback = callbacks.get(body["output"])
    if callback is None or "callback" not in callback:
        return False
    changed = body.get("changedPropIds", [])
    known = {f"{value['id']}.{value['property']}" for value in callback["inputs"]}
    return (
        same_properties(body.get("inputs", []), callback["inputs"])
        and same_properties(body.get("state", []), callback["state"])
        and same_outputs(body.get("outputs"), callback["output"])
        and isinstance(changed, list)
        and all(isinstance(name, str) and name in known for name in changed)
    )


def same_properties(given: Any, registered: list[dict[str, Any]]) -> bool:
    """Return whether the inputs or the state are those that were registered.

    The callback checks their values.
    """
    if not isinstance(given, list) or len(given) != len(registered):
        return False
    return all(
        isinstance(value, dict)
        and value.get("id") == wanted["id"]
        and value.get("property") == wanted["property"]
        for value, wanted in zip(given, registered, strict=True)
    )


def same_outputs(given: Any, registered: Output | list[Output]) -> bool:
    """Return whether the outputs are those that were registered."""
    if isinstance(registered, Output):
        return same_output(given, registered)
    if not isinstance(given, list) or len(given) != len(registered):
        return False
    return all(same_output(value, wanted) for value, wanted in zip(given, registered, strict=True))


def same_output(given: Any, wanted: Output) -> bool:
    """Return whether it is that output, or a list of outputs where it matches several elements."""
    pattern = wanted.component_id
    if isinstance(pattern, dict) and ALL in pattern.values():
        return isinstance(given, list) and all(
            matches_pattern(each, pattern, wanted.component_property) for each in given
        )
    return isinstance(given, dict) and given == {
        "id": pattern,
        "property": wanted.component_property,
    }


def matches_pattern(given: Any, pattern: dict[str, Any], name: str) -> bool:
    """Return whether an output is the property `name` of an element that matches the pattern."""
    if (
        not isinstance(given, dict)
        or given.get("property") != name
        or not isinstance(given.get("id"), dict)
    ):
        return False
    found = given["id"]
    return found.keys() == pattern.keys() and all(
        isinstance(found[key], str) and value in (ALL, found[key]) for key, value in pattern.items()
    )
