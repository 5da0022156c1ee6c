"""Routes of the timeline on a Flask server: what the component in the browser asks for, checked, and answered from the lanes."""

import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from flask import Blueprint, Flask, Response, abort, jsonify, request

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.timeline.event import event_at
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.search import BINS, Hits, next_hit, search
from perfscope.analyzer.timeline.selection import BY, selection
from perfscope.analyzer.timeline.strip import strip
from perfscope.analyzer.timeline.tiles import MOST_PIXELS, tile
from perfscope.analyzer.timeline.track import Lanes
from perfscope.traces.trace import Trace
from perfscope.ui.timeline_data import meta, of_event, of_hits, of_selection

SCRIPTS = (
    "timeline_tile.js",
    "timeline_source.js",
    "timeline_paint.js",
    "timeline_layout.js",
    "timeline_draw.js",
    "timeline_panel.js",
    "timeline_input.js",
    "timeline.js",
)
STYLE = "timeline.css"
MOST_LANES = 1024
MOST_ROWS = 200
MOST_WORDS = 200
REMEMBERED = 8
Lookup = Callable[[str], Trace]


def script() -> str:
    """The whole component, in the order in which its parts build on each other."""
    return "\n".join(files("perfscope.ui.assets").joinpath(name).read_text("utf-8") for name in SCRIPTS)


def stylesheet() -> str:
    return files("perfscope.ui.assets").joinpath(STYLE).read_text("utf-8")


def register(server: Flask, lookup: Lookup, diagnosed: Callable[[str], Diagnosis | None] | None = None) -> None:
    """Mount the routes under `/timeline`. `lookup` gives the Trace of a run id or raises KeyError."""
    server.register_blueprint(blueprint(lookup, diagnosed or (lambda _: None)))


def blueprint(lookup: Lookup, diagnosed: Callable[[str], Diagnosis | None]) -> Blueprint:
    routes = Blueprint("timeline", __name__, url_prefix="/timeline")
    remembered: dict[tuple[str, str], tuple[Lanes, Hits]] = {}

    def trace_of(run: str) -> Trace:
        try:
            return lookup(run)
        except KeyError:
            abort(404, "no such run")

    def lanes_of(run: str) -> Lanes:
        return trace_of(run).fact(timeline_lanes)

    def hits_of(run: str) -> tuple[Lanes, Hits]:
        lanes, words = lanes_of(run), request.args.get("words", "")[:MOST_WORDS]
        found = remembered.get((run, words))
        if found is None or found[0] is not lanes:
            found = lanes, search(lanes, words)
            while len(remembered) >= REMEMBERED:
                remembered.pop(next(iter(remembered)), None)
            remembered[run, words] = found
        return found

    @routes.get("/<path:run>/meta")
    def get_meta(run: str) -> Response:
        return jsonify(meta(lanes_of(run), diagnosed(run)))

    @routes.get("/<path:run>/tile")
    def get_tile(run: str) -> Response:
        begun = time.perf_counter()
        lanes = lanes_of(run)
        begin, end = window()
        body = tile(lanes.lanes, begin, end, number("pixels", 1, MOST_PIXELS), numbers(lanes))
        answer = Response(body, mimetype="application/octet-stream")
        answer.headers["Server-Timing"] = f"tile;dur={(time.perf_counter() - begun) * 1e3:.2f}"
        return answer

    @routes.get("/<path:run>/names")
    def get_names(run: str) -> Response:
        first = number("first", 0, 1 << 31)
        return jsonify(lanes_of(run).names.texts[first : first + number("count", 1, 4096)])

    @routes.get("/<path:run>/strip")
    def get_strip(run: str) -> Response:
        shares = strip(lanes_of(run), number("columns", 1, 2048))
        return jsonify({name: [round(float(one), 4) for one in share] for name, share in shares.items()})

    @routes.get("/<path:run>/select")
    def get_select(run: str) -> Response:
        lanes, by = lanes_of(run), request.args.get("by", "name")
        if by not in BY:
            abort(400, f"by is one of {', '.join(BY)}")
        frame = selection(lanes, *window(), numbers(lanes), by)
        return jsonify(of_selection(frame, number("most", 1, MOST_ROWS)))

    @routes.get("/<path:run>/search")
    def get_search(run: str) -> Response:
        return jsonify(of_hits(hits_of(run)[1]) | {"bins": BINS})

    @routes.get("/<path:run>/hit")
    def get_hit(run: str) -> Response:
        lanes, hits = hits_of(run)
        place = number("at", -(1 << 62), 1 << 62), number("lane", -1, 1 << 31)
        hit = next_hit(lanes, hits, place, forward=request.args.get("back") != "1")
        return jsonify(None if hit is None else {"lane": hit.lane, "ts_ns": hit.ts_ns, "dur_ns": hit.dur_ns})

    @routes.get("/<path:run>/event")
    def get_event(run: str) -> Response:
        trace, lanes = trace_of(run), lanes_of(run)
        at, lane = number("at", -(1 << 62), 1 << 62), number("lane", 0, len(lanes.lanes) - 1)
        return jsonify(of_event(event_at(trace, lanes, lane, at)))

    @routes.get("/component.js")
    def get_script() -> Response:
        return Response(script(), mimetype="text/javascript")

    @routes.get("/component.css")
    def get_style() -> Response:
        return Response(stylesheet(), mimetype="text/css")

    return routes


def number(name: str, least: int, most: int) -> int:
    """A whole number from the query; refused outside its bounds."""
    text: Any = request.args.get(name, "")
    try:
        value = int(text)
    except ValueError:
        abort(400, f"{name} is a whole number")
    if not least <= value <= most:
        abort(400, f"{name} lies between {least} and {most}")
    return value


def window() -> tuple[int, int]:
    """(from, to) of the query, ns."""
    begin, end = number("from", -(1 << 62), 1 << 62), number("to", -(1 << 62), 1 << 62)
    if end <= begin:
        abort(400, "to lies behind from")
    return begin, end


def numbers(lanes: Lanes) -> list[int]:
    """The lanes of the query, `0-40,45`; those that there are."""
    found: list[int] = []
    for part in request.args.get("lanes", "").split(","):
        first, _, last = part.partition("-")
        if len(part) > 24 or not (first.isdecimal() and (last.isdecimal() or not last)):
            abort(400, "lanes are numbers and ranges of numbers: 0-40,45")
        begin, end = int(first), min(int(last or first), len(lanes.lanes) - 1)
        if len(found) + end - begin >= MOST_LANES:
            abort(400, f"at most {MOST_LANES} lanes at once")
        found += range(begin, end + 1)
    return found
