"""What a browser sends to a callback, checked before Dash dispatches it: a request that no page of
ours makes is refused.

Dash trusts the names in a request, and answers what does not fit with a traceback.
"""

from collections.abc import Mapping
from typing import Any

import flask
from dash import ALL, Dash, Output
from werkzeug.exceptions import BadRequest

from perfscope.ui.dashboard.guard import text_response

ENDPOINT = "/_dash-update-component"


def check_callbacks(app: Dash) -> None:
    """Refuse requests to callbacks that do not name a callback, its inputs, state and outputs as
    they were registered.
    """

    def before() -> None:
        if flask.request.endpoint == ENDPOINT and not fits(
            app.callback_map, body_of(flask.request)
        ):
            raise BadRequest("no callback is asked for like this")

    app.server.before_request(before)
    app.server.register_error_handler(BadRequest, refused)


def refused(error: BadRequest) -> flask.Response:
    return text_response(f"perfscope: refused: {error.description}", 400)


def body_of(request: flask.Request) -> Any:
    """Return the JSON of a request. Raises BadRequest; Flask keeps it for Dash."""
    try:
        return request.get_json()
    except RecursionError:
        raise BadRequest("the request is nested too deeply") from None


def fits(callbacks: Mapping[str, Mapping[str, Any]], body: Any) -> bool:
    """Return whether a body asks for a callback of the server as a page of ours does."""
    if not isinstance(body, dict) or not isinstance(body.get("output"), str):
        return False
    callback = callbacks.get(body["output"])
    if callback is None or "callback" not in callback:
        return False
    changed = body.get("changedPropIds", [])
    known = {f"{one['id']}.{one['property']}" for one in callback["inputs"]}
    return (
        same_properties(body.get("inputs", []), callback["inputs"])
        and same_properties(body.get("state", []), callback["state"])
        and same_outputs(body.get("outputs"), callback["output"])
        and isinstance(changed, list)
        and all(isinstance(name, str) and name in known for name in changed)
    )


def same_properties(given: Any, registered: list[dict[str, Any]]) -> bool:
    """Return whether the inputs or the state are those that were registered; their values are for
    the callback to check.
    """
    if not isinstance(given, list) or len(given) != len(registered):
        return False
    return all(
        isinstance(one, dict)
        and one.get("id") == wanted["id"]
        and one.get("property") == wanted["property"]
        for one, wanted in zip(given, registered, strict=True)
    )


def same_outputs(given: Any, registered: Output | list[Output]) -> bool:
    """Return whether the outputs are those that were registered."""
    if isinstance(registered, Output):
        return same_output(given, registered)
    if not isinstance(given, list) or len(given) != len(registered):
        return False
    return all(same_output(one, wanted) for one, wanted in zip(given, registered, strict=True))


def same_output(given: Any, wanted: Output) -> bool:
    """Return whether it is that output; for one of all elements of a kind, a list of such."""
    pattern = wanted.component_id
    if isinstance(pattern, dict) and ALL in pattern.values():
        return isinstance(given, list) and all(
            is_one_of(each, pattern, wanted.component_property) for each in given
        )
    return isinstance(given, dict) and given == {
        "id": pattern,
        "property": wanted.component_property,
    }


def is_one_of(given: Any, pattern: dict[str, Any], name: str) -> bool:
    """Return whether an output is the property `name` of an element whose id matches the
    pattern.
    """
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
