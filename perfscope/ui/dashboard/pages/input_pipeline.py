"""Whether batches arrive in time, and the predicted effect of other workers or cheaper batches."""

from typing import Any, TypeGuard

from dash import dcc, html

from perfscope.analyzer.input.batch_times import batch_times
from perfscope.analyzer.input.input_pipeline import Pipeline
from perfscope.analyzer.input.what_if import (
    MOST_WORKERS,
    WhatIf,
    pipeline_of,
    what_if,
    workers_of_verdict,
)
from perfscope.analyzer.number_text import as_clause, ms, plural
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.traces.trace import Trace
from perfscope.ui.budget_phrases import NS_PER_MS
from perfscope.ui.dashboard.figure_cards import graph, plain_data
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.figures.batch_times import prefetch_depths, queue
from perfscope.ui.figures.fetch_time import fetch_split
from perfscope.ui.figures.what_if_curve import what_if_curve
from perfscope.ui.html.sections import Section, recording_span_s
from perfscope.ui.phrases import speedup_text, verdict_finding

FEWEST_WORKERS_ON_SCALE = 8
LEAST_COST, ALL_COST = 10, 100
INPUT_BOUND = "input-bound"
LANES = "steps thread loader"
COST_MARKS = {10: "10 %", 25: "", 50: "50 %", 75: "", 100: "as now"}
WHAT_IF_NOTE = (
    "Estimated from measured values: the slower of training loop and workers, limited by the"
    " usable cores."
)
QUEUE_NOTE = "Prefetched batches each time the loop asks for one. At 0 the loop has to wait."


def not_applicable(trace: Trace) -> str | None:
    """Return why there is no input pipeline to show."""
    has_loader = trace.has("loader") or trace.has("fetches")
    return None if has_loader else trace.why_absent("loader")


def layout(view: View) -> list[Any]:
    """Return the what-if card, the charts of fetches and of the queue, and the lanes."""
    pipeline = pipeline_of(view.trace, view.rank)
    batches = view.trace.fact(batch_times)
    sections = []
    if pipeline is not None and pipeline.fetch is not None:
        fetch = pipeline.fetch
        note = f"Mean of {fetch.count} fetches; a fetch takes {ms(fetch.wall)}."
        figure = fetch_split(fetch)
        sections.append(Section("fetch", "Time to make one batch", note, figure, is_plain=True))
    series = prefetch_depths(batches[batches["rank"] == view.rank])
    if series:
        figure = queue(series, recording_span_s(view.trace))
        sections.append(Section("queue", "Prefetched batches", QUEUE_NOTE, figure, is_plain=True))
    return [*what_if_cards(view, pipeline), *view.cards(sections), lanes_card(view)]


def lanes_card(view: View) -> Any:
    """Return the timeline of the loop and its workers, where a finding points first."""
    # The lanes are computed now, while the page shows that it is loading.
    tracks = view.trace.fact(timeline_lanes).tracks
    has_workers = any(
        track.kind == "loader" and track.title.startswith("worker") for track in tracks
    )
    title = "Training thread and loader workers" if has_workers else "Training thread"
    note = "A gap in a worker's lane means that it is idle. " if has_workers else ""
    place: dict[str, Any] = {
        "data-timeline": f"/timeline/{view.opened.found.id}",
        "data-only": LANES,
        "data-first": "finding",
        "data-height": "360",
    }
    text = html.P(f"{note}The Timeline page has all other lanes.", className="note")
    timeline = html.Div(id="timeline", **place)
    return html.Section([html.H2(title), text, timeline], className="card lanes")


def what_if_cards(view: View, pipeline: Pipeline | None) -> list[Any]:
    """Return the card with the sliders, or why there is no prediction."""
    workers_now = max(pipeline.workers, 0) if pipeline is not None else 0
    as_now = what_if(view.trace, view.rank, workers_now, 1.0)
    if pipeline is None or as_now.after is None:
        words = html.P(f"No prediction: {as_now.why_not}.", className="muted")
        return [html.Section([html.H2("What if"), words], className="card")]
    recommended = recommended_number(view, workers_now)
    most = min(max(FEWEST_WORKERS_ON_SCALE, 2 * workers_now, recommended), MOST_WORKERS)
    workers = number_in_query(view.query.get("workers"), (0, most), recommended)
    cost = number_in_query(view.query.get("cost"), (LEAST_COST, ALL_COST), ALL_COST)
    answer, section = what_if_answer(view.trace, view.rank, workers, cost / 100)
    contents = [
        html.H2("What if"),
        html.P(" ".join([WHAT_IF_NOTE, *recommendation(view)]), className="note"),
        sliders(workers, most, cost),
        html.P(answer, id="what-if"),
        graph(section),
    ]
    return [html.Section(contents, className="card what-if")]


def recommended_number(view: View, workers_now: int) -> int:
    """Return the number of workers that the verdict recommends for the shown rank, else the number
    now.
    """
    is_judged = view.rank == view.diagnosis.budget_rank
    recommended = workers_of_verdict(view.trace, view.diagnosis) if is_judged else None
    return workers_now if recommended is None else min(recommended, MOST_WORKERS)


def recommendation(view: View) -> list[str]:
    """Return what the verdict recommends where the sliders do not cover it."""
    finding = verdict_finding(view.diagnosis)
    if finding is None or finding.id != INPUT_BOUND or view.rank != view.diagnosis.budget_rank:
        return []
    if workers_of_verdict(view.trace, view.diagnosis) is not None:
        return ["The sliders begin at the recommended change."]
    action = next(iter(finding.actions), None)
    likely_ms = next((each.likely for each in action.predictions), None) if action else None
    if action is None or likely_ms is None:
        return []
    likely = ms(likely_ms * NS_PER_MS)
    return [f"Recommended instead: {as_clause(action.text)} (about {likely} per step)."]


WORKERS_LABEL, COST_LABEL = "Loader workers", "Time to make a batch"


def sliders(workers: int, most_workers: int, cost: int) -> Any:
    """Return the sliders for the number of workers and the cost of a batch."""
    worker_slider = dcc.Slider(0, most_workers, 1, value=workers, id="what-if-workers")
    cost_slider = dcc.Slider(
        LEAST_COST, ALL_COST, 5, marks=COST_MARKS, value=cost, id="what-if-cost"
    )
    labels = [
        html.Label([WORKERS_LABEL, worker_slider], **slider_name(WORKERS_LABEL)),
        html.Label([COST_LABEL, cost_slider], **slider_name(COST_LABEL)),
    ]
    return html.Div(labels, className="sliders")


def slider_name(label: str) -> dict[str, Any]:
    """Return the property that a script names the slider's handle by, for screen readers."""
    return {"data-slider": label}


def number_in_query(text: str | None, bounds: tuple[int, int], default: int) -> int:
    """Return the number that the address asks for; the default where it is not within bounds."""
    least, most = bounds
    if text is not None and text.isdecimal() and least <= int(text[:9]) <= most:
        return int(text)
    return default


def what_if_answer(trace: Trace, rank: int, workers: int, cost: float) -> tuple[str, Section]:
    """Return the predicted step as a sentence, and the curve over the number of workers."""
    pipeline = pipeline_of(trace, rank)
    assert pipeline is not None
    most = max(FEWEST_WORKERS_ON_SCALE, 2 * pipeline.workers, workers)
    counts = range(min(most, MOST_WORKERS) + 1)
    predictions = {count: what_if(trace, rank, count, cost) for count in counts}
    measured = (max(pipeline.workers, 0), pipeline.step)
    figure = what_if_curve(predictions, workers, measured)
    section = Section("what-if", "Predicted step time", "", figure, is_plain=True)
    return prediction_text(predictions[workers], workers, cost), section


def prediction_text(prediction: WhatIf, workers: int, cost: float) -> str:
    """Return the predicted step time, its range and the speedup as a sentence."""
    after, step = prediction.after, prediction.step
    if after is None:
        return f"No prediction: {prediction.why_not}."
    if after.fast == after.slow == step:
        return f"As now: {ms(step)} per step, measured."
    change = f"With {plural(workers, 'worker')}" if workers else "Without workers"
    if cost != 1.0:
        change += f" and batches that take {100 * cost:.0f} % of the time"
    speedup = step / after.likely if after.likely > 0 else 1.0
    interval = f"{ms(after.fast)} to {ms(after.slow)}"
    return (
        f"{change}: about {ms(after.likely)} per step ({interval}) instead of {ms(step)},"
        f" {speedup_text(speedup)}×."
    )


def predicted(view: View, workers: object, cost: object) -> tuple[str, str] | None:
    """Return the prediction at the values of the sliders, as a sentence and as the figure's JSON;
    None for values that the sliders do not have, and for a run without a prediction.
    """
    if not (is_within(workers, 0, MOST_WORKERS) and is_within(cost, LEAST_COST, ALL_COST)):
        return None
    if pipeline_of(view.trace, view.rank) is None:
        return None
    answer, section = what_if_answer(view.trace, view.rank, workers, cost / 100)
    return answer, plain_data(section)


def is_within(value: object, least: int, most: int) -> TypeGuard[int]:
    """Return whether a value that a browser sent is a whole number within bounds."""
    return isinstance(value, int) and least <= value <= most


PAGE = Page("input", "Input pipeline", not_applicable, layout)
