"""The answers of the timeline's routes: requests are checked, then answered."""

import time
from typing import Any

from flask import Response, abort, jsonify, request

from perfscope.analyzer.timeline.call_statistics import PLACES, places_of, selection_by_place
from perfscope.analyzer.timeline.event import event_at
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.search import Hits, next_hit, search
from perfscope.analyzer.timeline.selection import BY, selection
from perfscope.analyzer.timeline.strip import strip
from perfscope.analyzer.timeline.tiles import MOST_PIXELS, tile
from perfscope.analyzer.timeline.track import Lanes
from perfscope.errors import PerfscopeError
from perfscope.traces.trace import Trace
from perfscope.ui.timeline.component_json import (
    NAMES_AT_ONCE,
    longest_places,
    of_event,
    of_hits,
    of_selection,
    timeline_header,
)
from perfscope.ui.timeline.routes import Diagnosed, Lookup

MOST_LANES = 1024
MOST_ROWS = 200
MOST_WORDS = 200
REMEMBERED = 8
FAR, ALWAYS = 1 << 31, 1 << 61  # a length of twice ALWAYS is still an int64


class TimelineAnswers:
    """A method per route; each checks its request."""

    def __init__(self, lookup: Lookup, diagnosed: Diagnosed | None) -> None:
        self.lookup, self.diagnosed = lookup, diagnosed
        self.found: dict[tuple[str, str], tuple[Lanes, Hits]] = {}

    def trace(self, run: str) -> Trace:
        try:
            return self.lookup(run)
        except (KeyError, PerfscopeError):
            abort(404, "no such run")

    def lanes(self, run: str) -> Lanes:
        return self.trace(run).fact(timeline_lanes)

    def meta(self, run: str) -> Response:
        lanes = self.lanes(run)
        diagnosis = self.diagnosed(run) if self.diagnosed is not None else None
        trace = self.trace(run)
        header = timeline_header(lanes, diagnosis, places_of(trace))
        return jsonify(header | {"places": longest_places(trace, diagnosis)})

    def tile(self, run: str) -> Response:
        begun, lanes = time.perf_counter(), self.lanes(run)
        body = tile(
            lanes.lanes,
            *query_interval(),
            query_number("pixels", 1, MOST_PIXELS),
            query_lanes(lanes),
        )
        answer = Response(body, mimetype="application/octet-stream")
        answer.headers["Server-Timing"] = f"tile;dur={(time.perf_counter() - begun) * 1e3:.2f}"
        return answer

    def names(self, run: str) -> Response:
        first = query_number("first", 0, FAR)
        return jsonify(
            self.lanes(run).names.texts[first : first + query_number("count", 1, NAMES_AT_ONCE)]
        )

    def strip(self, run: str) -> Response:
        shares = strip(self.lanes(run), query_number("columns", 1, 2048))
        return jsonify(
            {name: [round(float(share), 4) for share in column] for name, column in shares.items()}
        )

    def select(self, run: str) -> Response:
        lanes, by = self.lanes(run), request.args.get("by", "name")
        if by not in (*BY, *PLACES):
            abort(400, f"by must be one of {', '.join((*BY, *PLACES))}")
        asked = (lanes, *query_interval(), query_lanes(lanes), by)
        found = selection(*asked) if by in BY else selection_by_place(*asked, trace=self.trace(run))
        return jsonify(of_selection(found, query_number("most", 1, MOST_ROWS)))

    def hits(self, run: str) -> tuple[Lanes, Hits]:
        """Return the hits of the query's words; the last few are kept for the next button."""
        lanes, words = self.lanes(run), request.args.get("words", "")[:MOST_WORDS]
        found = self.found.get((run, words))
        if found is None or found[0] is not lanes:
            found = lanes, search(lanes, words)
            while len(self.found) >= REMEMBERED:
                self.found.pop(next(iter(self.found)), None)
            self.found[run, words] = found
        return found

    def search(self, run: str) -> Response:
        return jsonify(of_hits(self.hits(run)[1]))

    def hit(self, run: str) -> Response:
        lanes, hits = self.hits(run)
        place = query_number("at", -ALWAYS, ALWAYS), query_number("lane", -1, FAR)
        hit = next_hit(lanes, hits, place, forward=request.args.get("back") != "1")
        return jsonify(
            None if hit is None else {"lane": hit.lane, "ts_ns": hit.ts_ns, "dur_ns": hit.dur_ns}
        )

    def event(self, run: str) -> Response:
        trace, lanes = self.trace(run), self.lanes(run)
        lane = query_number("lane", 0, len(lanes.lanes) - 1)
        return jsonify(of_event(event_at(trace, lanes, lane, query_number("at", -ALWAYS, ALWAYS))))


def query_number(name: str, least: int, most: int) -> int:
    """Return a whole number of the query; refuse it outside its bounds."""
    text: Any = request.args.get(name, "")
    try:
        value = int(text)
    except ValueError:
        abort(400, f"{name} must be a whole number")
    if not least <= value <= most:
        abort(400, f"{name} must be between {least} and {most}")
    return value


def query_interval() -> tuple[int, int]:
    """Return `from` and `to` of the query, in ns."""
    begin, end = query_number("from", -ALWAYS, ALWAYS), query_number("to", -ALWAYS, ALWAYS)
    if end <= begin:
        abort(400, "to must be after from")
    return begin, end


def query_lanes(lanes: Lanes) -> list[int]:
    """Return the lanes of the query, `0-40,45`, that exist."""
    found: list[int] = []
    for part in request.args.get("lanes", "").split(","):
        first, _, last = part.partition("-")
        if len(part) > 24 or not (first.isdecimal() and (last.isdecimal() or not last)):
            abort(400, "lanes must be numbers and ranges of numbers: 0-40,45")
        begin, end = int(first), min(int(last or first), len(lanes.lanes) - 1)
        if len(found) + end - begin >= MOST_LANES:
            abort(400, f"at most {MOST_LANES} lanes at once")
        found += range(begin, end + 1)
    return found
