"""A run while it is recorded: live charts, the verdict of the last 30 seconds, and buttons."""

import threading
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from perfscope.analyzer.input.batch_times import batch_times
from perfscope.analyzer.input.live_progress import STARTING, live_progress
from perfscope.analyzer.number_text import plural
from perfscope.analyzer.run.window_count import windows_taken
from perfscope.analyzer.serving.live_requests import live_requests
from perfscope.traces.folder_contents import url_id
from perfscope.ui.dashboard.components import components
from perfscope.ui.dashboard.dashboard_data import Live
from perfscope.ui.dashboard.figure_cards import encoded_figure, figure_data, graphs
from perfscope.ui.dashboard.live_now import age_text, notice_of_stage, pace_strip, stage_card
from perfscope.ui.dashboard.live_run import TICK_S, WINDOW_NS, Snapshot
from perfscope.ui.figures.batch_times import beat, beats, prefetch_depths, queue, with_new_points
from perfscope.ui.html.overview import changes_and_ranks, subject_line, verdict_and_budget
from perfscope.ui.html.report import block
from perfscope.ui.html.sections import Section, host_sections, recent_workers

PATH = "/live"
WINDOW = (
    "Runs torch's profiler for a few steps: operators, shapes, memory. These steps are slower and"
    " are left out of all times. A second window is taken only where that is safe; the source"
    " `kernels` has the reason."
)
CHARTED_S = WINDOW_NS / 1e9
NOTHING_SEEN: dict[str, Any] = {"tick": 0, "diagnosed": 0, "drawn": 0, "charts": []}
UNREADABLE_TICK = -1
"""The tick of a viewer that was shown that the run can no longer be read."""
REDRAWN_S = 12.0
"""How often charts other than those of batches are drawn: they cost as much as a diagnosis."""
BATCH_CHARTS = ("beat", "queue")
QUEUE_NOTE = "Prefetched batches each time the loop asks for one. At 0 it waits."


@dataclass
class LiveCharts:
    """The charts of a snapshot, drawn once for all viewers.

    `figures` is plain data. `drawn` counts how often all charts were drawn.
    """

    snapshot: Snapshot
    sections: list[Section]
    figures: dict[str, Any]
    drawn: int


@dataclass
class ChartCache:
    """The newest charts.

    All are drawn with a diagnosis, but not more often than every 12 seconds; between these only
    the points of batches move.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    charts: LiveCharts | None = None
    drawn_s: float = -REDRAWN_S

    def of(self, snapshot: Snapshot) -> LiveCharts:
        """Return the charts of a snapshot."""
        with self.lock:
            if self.is_due(snapshot):
                number = 1 if self.charts is None else self.charts.drawn + 1
                self.charts = all_charts(snapshot, number)
                self.drawn_s = time.monotonic()
            elif self.charts is not None and self.charts.snapshot.tick != snapshot.tick:
                self.charts = with_newer_batches(self.charts, snapshot)
            assert self.charts is not None
            return self.charts

    def is_due(self, snapshot: Snapshot) -> bool:
        """Return whether all charts have to be drawn again."""
        if self.charts is None or self.charts.snapshot.ended != snapshot.ended:
            return True
        if self.charts.snapshot.diagnosed == snapshot.diagnosed:
            return False
        has_batches = len(snapshot.recent.fact(batch_times)) > 0
        if has_batches and "beat" not in self.charts.figures:
            return True
        return time.monotonic() - self.drawn_s >= REDRAWN_S


def chart_span(snapshot: Snapshot) -> tuple[float, float]:
    """Return the span of the batch charts, in seconds."""
    end_s = snapshot.recent.span_ns[1] / 1e9
    return max(end_s - CHARTED_S, 0.0), max(end_s, 1.0)


def all_charts(snapshot: Snapshot, number: int) -> LiveCharts:
    """Return every chart: the batches first, then those of the last diagnosis."""
    rows, span = snapshot.recent.fact(batch_times), chart_span(snapshot)
    found = []
    if len(rows):
        note = f"One point per batch, the last {CHARTED_S:g} s."
        found.append(Section("beat", "Time between batches", note, beat(beats(rows), span)))
        if series := prefetch_depths(rows):
            figure = queue(series, span)
            found.append(Section("queue", "Prefetched batches", QUEUE_NOTE, figure))
    found += [*recent_workers(snapshot.trace), *host_sections(snapshot.trace)]
    found = [replace(section, is_plain=True) for section in found]
    figures = {section.id: figure_data(section) for section in found}
    return LiveCharts(snapshot, found, figures, number)


def with_newer_batches(charts: LiveCharts, snapshot: Snapshot) -> LiveCharts:
    """Return the charts with the batches of a newer snapshot.

    A rank or worker that is new appears with the next diagnosis.
    """
    rows, span = snapshot.recent.fact(batch_times), chart_span(snapshot)
    figures = dict(charts.figures)
    for name, series in (("beat", beats(rows)), ("queue", prefetch_depths(rows))):
        if name in figures and len(figures[name]["data"]) == len(series):
            figures[name] = with_new_points(figures[name], series, span)
    return LiveCharts(snapshot, charts.sections, figures, charts.drawn)


def layout(live: Live) -> list[Any]:
    """Return the empty places of the page; the first tick fills them."""
    profile = html.Button(
        "Profile a few steps now", id="live-window", className="button", title=WINDOW
    )
    stop = html.Button("Stop recording", id="live-stop", className="button")
    controls = [html.Span(id="live-status"), html.Span([profile, stop], id="live-controls")]
    return [
        html.Header([html.Div(id="live-who"), html.Div(controls)], className="live"),
        html.Div(id="live-reply", role="status"),
        html.Div(id="live-now"),
        html.Div(notice_of_stage(STARTING), id="live-answer"),
        html.Div(id="live-cards"),
        html.Div(id="live-changes"),
        dcc.Store(id="live-seen", data=NOTHING_SEEN),
        dcc.Interval(id="live-clock", interval=int(1000 * TICK_S)),
    ]


def register(app: Dash, live: Live) -> None:
    """Register the callback of the clock, and that of the buttons."""
    cache = ChartCache()

    def refresh(_: object, sent: object) -> tuple[Any, ...]:
        snapshot, seen = live.watch.now(), seen_by(sent)
        if snapshot is None or snapshot.tick == seen["tick"]:
            if live.watch.error is not None and seen["tick"] != UNREADABLE_TICK:
                return error_update(live.watch.error).outputs()
            raise PreventUpdate
        return page_update(cache.of(snapshot), seen).outputs()

    def steer(stops: object, windows: object) -> str:
        if not stops and not windows:
            raise PreventUpdate
        if live.recording is None:
            return "This recording was started in another terminal; end it there with Ctrl-C."
        if ctx.triggered_id == "live-stop":
            live.recording.stop()
            return "Stopping …"
        if live.recording.request_window():
            return "Torch's profiler will record the next steps."
        return "The recording has ended."

    names = ("live-who", "live-status", "live-now", "live-answer", "live-cards", "live-changes")
    app.callback(
        *(Output(name, "children") for name in names),
        Output("live-controls", "hidden"),
        Output("live-seen", "data"),
        Output({"kind": "plain", "name": ALL}, "data-figure"),
        Input("live-clock", "n_intervals"),
        State("live-seen", "data"),
    )(refresh)
    buttons = (Input("live-stop", "n_clicks"), Input("live-window", "n_clicks"))
    app.callback(Output("live-reply", "children"), *buttons)(steer)


def seen_by(sent: object) -> dict[str, Any]:
    """Return what a viewer has seen; nothing where its browser sends something else."""
    given = sent if isinstance(sent, dict) else {}
    fitting = {
        name: given[name]
        for name, value in NOTHING_SEEN.items()
        if type(given.get(name)) is type(value)
    }
    return {**NOTHING_SEEN, **fitting}


@dataclass
class PageUpdate:
    """What changes on the page of a viewer; the fields are in the order of the outputs."""

    subject: Any = no_update
    status: Any = no_update
    now: Any = no_update
    answer: Any = no_update
    cards: Any = no_update
    changes: Any = no_update
    controls_hidden: bool = False
    seen: dict[str, Any] = field(default_factory=dict)
    figures: list[Any] = field(default_factory=list)

    def outputs(self) -> tuple[Any, ...]:
        """Return the values of the callback's outputs."""
        return tuple(getattr(self, each.name) for each in fields(self))


def page_update(charts: LiveCharts, seen: dict[str, Any]) -> PageUpdate:
    """Return what a viewer has not seen of a snapshot."""
    snapshot, chart_ids = charts.snapshot, [section.id for section in charts.sections]
    path, trace, diagnosis = snapshot.trace.path, snapshot.trace, snapshot.diagnosis
    base = f"/run/{url_id(path.name)}" if path is not None else ""
    timeline = f"{base}/timeline"
    progress = snapshot.recent.fact(live_progress)
    requests = trace.fact(live_requests)
    update = PageUpdate(
        status=status(snapshot, base),
        now=pace_strip(progress, requests) if snapshot.ended is None else [],
        controls_hidden=snapshot.ended is not None,
        seen={
            "tick": snapshot.tick,
            "diagnosed": snapshot.diagnosed,
            "drawn": charts.drawn,
            "charts": chart_ids,
        },
        figures=figure_updates(charts, seen),
    )
    stage = stage_card(progress, diagnosis) if snapshot.ended is None else None
    if stage is not None:
        update.subject = components(subject_line(trace, diagnosis), timeline)
        update.answer = stage
    elif snapshot.diagnosed != seen["diagnosed"] or snapshot.ended is not None:
        update.subject = components(subject_line(trace, diagnosis), timeline)
        update.answer = components(verdict_and_budget(trace, diagnosis), timeline)
        update.changes = components(changes_and_ranks(diagnosis), timeline)
    if chart_ids != seen["charts"]:
        cards = f'<div class="charts">{"".join(map(block, charts.sections))}</div>'
        update.cards = components(cards, timeline, graphs(charts.sections))
    return update


def figure_updates(charts: LiveCharts, seen: dict[str, Any]) -> list[Any]:
    """Return new data for each figure of the page: all after a redraw, else those of batches."""
    names = requested_figures()
    if charts.drawn == seen["drawn"]:
        changed = [name for name in names if name in BATCH_CHARTS]
    else:
        changed = names
    return [
        encoded_figure(charts.figures[name])
        if name in changed and name in charts.figures
        else no_update
        for name in names
    ]


def requested_figures() -> list[str]:
    """Return the figures that the page of the viewer has."""
    return [output["id"]["name"] for output in ctx.outputs_list[-1]]


def error_update(error: str) -> PageUpdate:
    """Return an update that says, once, why the run can no longer be read."""
    seen = {**NOTHING_SEEN, "tick": UNREADABLE_TICK}
    unchanged: list[Any] = [no_update] * len(requested_figures())
    return PageUpdate(status=error, controls_hidden=True, seen=seen, figures=unchanged)


def status(snapshot: Snapshot, base: str) -> list[Any]:
    """Return how long the run has been recorded, or that it ended, with a link to it."""
    minutes, seconds = divmod(int(snapshot.elapsed_s), 60)
    clock = f"{minutes}:{seconds:02d}"
    if snapshot.ended is None:
        windows = snapshot.trace.fact(windows_taken)
        profiled = f", {plural(windows, 'window')}" if windows else ""
        words = f"recording {clock}{profiled}"
        return [html.I(className="recording"), words, age_text(snapshot.age_s)]
    link = dcc.Link("Open the whole run", href=f"{base}/overview")
    return [f"Ended after {clock}: {snapshot.ended}. ", link]
