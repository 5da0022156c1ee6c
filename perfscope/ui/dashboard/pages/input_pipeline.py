"""Does the training get its batches in time, and if not, what would help?"""

from typing import Any, TypeGuard

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from perfscope.analyzer.input.batch_times import batch_times
from perfscope.analyzer.input.input_pipeline import Pipeline
from perfscope.analyzer.input.what_if import MOST_WORKERS, WhatIf, pipeline_of, what_if
from perfscope.analyzer.number_text import ms, plural
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.cards import graph, plain
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.figures.batch_times import depths, queue
from perfscope.ui.figures.fetch_split import fetch_split
from perfscope.ui.figures.what_if_curve import what_if_curve
from perfscope.ui.html.sections import Section, span_s
from perfscope.ui.phrases import speedup_text

PATH, TITLE = "input", "Input pipeline"
LEAST_REACH = 8
LEAST_COST, ALL_COST = 10, 100
LANES = "steps thread loader"
COSTS = {10: "10 %", 25: "", 50: "50 %", 75: "", 100: "as now"}


def not_applicable(trace: Trace) -> str | None:
    return None if trace.has("loader") or trace.has("fetches") else trace.why_absent("loader")


def layout(view: View) -> list[Any]:
    line = pipeline_of(view.trace, view.rank)
    beats = view.trace.fact(batch_times)
    sections = []
    if line is not None and line.fetch is not None:
        note = f"A mean over {line.fetch.count} fetches, each {ms(line.fetch.wall)} to make."
        sections.append(
            Section("fetch", "What one batch costs to make", note, fetch_split(line.fetch))
        )
    ready = depths(beats[beats["rank"] == view.rank])
    if ready:
        note = "When the loop asks for a batch, how many lie ready. At zero it has to wait."
        sections.append(Section("queue", "Batches ready", note, queue(ready, span_s(view.trace))))
    return [*asking(view, line), *view.cards(sections), lanes(view)]


def lanes(view: View) -> Any:
    """The timeline of the loop and of those that load for it, first where a finding points."""
    tracks = view.trace.fact(
        timeline_lanes
    ).tracks  # made here, while the page says that it is being made
    workers = any(one.kind == "loader" and one.title.startswith("worker") for one in tracks)
    title = "The training thread and its workers" if workers else "The loop's thread"
    note = "A gap in a worker's lane: it has nothing to do. " if workers else ""
    place: dict[str, Any] = {
        "data-timeline": f"/timeline/{view.opened.found.id}",
        "data-only": LANES,
    }
    place |= {"data-first": "finding", "data-height": "360"}
    words = [
        html.H2(title),
        html.P(f"{note}Everything else is on the page Timeline.", className="note"),
    ]
    return html.Section([*words, html.Div(id="timeline", **place)], className="card lanes")


def asking(view: View, line: Pipeline | None) -> list[Any]:
    """The card that answers what-if questions, or says why it cannot."""
    first = what_if(view.trace, view.rank, line.workers if line is not None else 0, 1.0)
    if line is None or first.after is None:
        words = f"No prediction: {first.why_not}."
        return [
            html.Section([html.H2("What if"), html.P(words, className="muted")], className="card")
        ]
    now = max(line.workers, 0)
    reach = min(max(LEAST_REACH, 2 * now), MOST_WORKERS)
    workers = number(view.query.get("workers"), 0, reach, now)
    cost = number(view.query.get("cost"), LEAST_COST, ALL_COST, ALL_COST)
    sliders = html.Div(
        [
            html.Label(
                ["Loader workers", dcc.Slider(0, reach, 1, value=workers, id="what-if-workers")]
            ),
            html.Label(
                [
                    "What a batch costs to make",
                    dcc.Slider(LEAST_COST, ALL_COST, 5, marks=COSTS, value=cost, id="what-if-cost"),
                ]
            ),
        ],
        className="sliders",
    )
    answer, section = answered(view.trace, view.rank, workers, cost / 100)
    note = (
        "Closed forms over what was measured: the slower of loop and workers, bounded by the usable"
        " cores."
    )
    return [
        html.Section(
            [
                html.H2("What if"),
                html.P(note, className="note"),
                sliders,
                html.P(answer, id="what-if"),
                graph(section),
            ],
            className="card what-if",
        )
    ]


def number(text: str | None, least: int, most: int, usual: int) -> int:
    """What the address asks for; the usual where it is no number within bounds."""
    return (
        int(text)
        if text is not None and text.isdecimal() and least <= int(text[:9]) <= most
        else usual
    )


def answered(trace: Trace, rank: int, workers: int, cost: float) -> tuple[str, Section]:
    """The sentence and the curve."""
    line = pipeline_of(trace, rank)
    assert line is not None
    reach = min(max(LEAST_REACH, 2 * line.workers, workers), MOST_WORKERS)
    predicted = {number: what_if(trace, rank, number, cost) for number in range(reach + 1)}
    figure = what_if_curve(predicted, workers, (max(line.workers, 0), line.step))
    return told(predicted[workers], workers, cost), Section(
        "what-if", "Predicted step time", "", figure
    )


def told(one: WhatIf, workers: int, cost: float) -> str:
    if one.after is None:
        return f"No prediction: {one.why_not}."
    change = f"With {plural(workers, 'worker')}" if workers else "Loading in the training process"
    change += "" if cost == 1.0 else f" and batches that cost {100 * cost:.0f} % of now"
    gain = one.step / one.after.likely if one.after.likely > 0 else 1.0
    span = f"{ms(one.after.fast)} to {ms(one.after.slow)}"
    if one.after.fast == one.after.slow == one.step:
        return f"As it is: {ms(one.step)} a step, measured."
    return (
        f"{change} a step takes about {ms(one.after.likely)} ({span}) in place of {ms(one.step)}:"
        f" {speedup_text(gain)}×."
    )


def is_within(value: object, least: int, most: int) -> TypeGuard[int]:
    """Return whether what a browser sent is a whole number within bounds."""
    return isinstance(value, int) and least <= value <= most


def run_at(path: object, library: Library) -> str | None:
    """Return the id of the run whose page is at an address, None where it is no such address."""
    parts = path.split("/") if isinstance(path, str) else []
    if parts[1:2] == ["run"] and len(parts) > 2:
        return parts[2]
    only = library.single
    return only.id if only is not None else None


def register(app: Dash, library: Library) -> None:
    """The sliders ask; the analyzer answers."""

    def ask(workers: object, cost: object, path: object) -> tuple[str, Any]:
        if not (is_within(workers, 0, MOST_WORKERS) and is_within(cost, LEAST_COST, ALL_COST)):
            raise PreventUpdate
        run = run_at(path, library)
        if run is None:
            raise PreventUpdate
        view = View.of(library.get(run), None)
        if pipeline_of(view.trace, view.rank) is None:
            raise PreventUpdate
        answer, section = answered(view.trace, view.rank, workers, cost / 100)
        return answer, plain(section)

    app.callback(
        Output("what-if", "children"),
        Output({"kind": "figure", "name": "what-if"}, "data"),
        Input("what-if-workers", "value"),
        Input("what-if-cost", "value"),
        State("url", "pathname"),
        prevent_initial_call=True,
    )(ask)
    sliders = (Input("what-if-workers", "value"), Input("what-if-cost", "value"))
    wire: Any = app.clientside_callback
    wire(
        ClientsideFunction("perfscope", "asked"),
        Output("what-if", "title"),
        *sliders,
        prevent_initial_call=True,
    )
