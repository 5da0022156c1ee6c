"""The routes of the timeline on a Flask server.

What answers them needs pandas. It is imported at the first request, so that the list of runs does
not wait for it.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response

from perfscope.ui.timeline.component_files import timeline_script, timeline_style

if TYPE_CHECKING:
    from perfscope.analyzer.diagnosis import Diagnosis
    from perfscope.traces.trace import Trace
    from perfscope.ui.timeline.route_answers import TimelineAnswers

Lookup = Callable[[str], "Trace"]
Diagnosed = Callable[[str], "Diagnosis | None"]


def add_timeline_routes(server: Flask, lookup: Lookup, diagnosed: Diagnosed | None = None) -> None:
    """Add the routes under `/timeline`.

    `lookup` returns the trace of a run's id; it raises KeyError or PerfscopeError without one.
    """

    @cache
    def answers() -> "TimelineAnswers":
        from perfscope.ui.timeline.route_answers import TimelineAnswers

        return TimelineAnswers(lookup, diagnosed)

    def answer(run: str, name: str) -> Response:
        response: Response = getattr(answers(), name)(run)
        return response

    routes = Blueprint("timeline", __name__, url_prefix="/timeline")
    for name in ("meta", "tile", "names", "strip", "select", "search", "hit", "event"):
        routes.add_url_rule(f"/<path:run>/{name}", name, answer, defaults={"name": name})
    routes.add_url_rule(
        "/component.js", "script", lambda: Response(timeline_script(), mimetype="text/javascript")
    )
    routes.add_url_rule(
        "/component.css", "style", lambda: Response(timeline_style(), mimetype="text/css")
    )
    server.register_blueprint(routes)
