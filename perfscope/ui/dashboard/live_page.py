"""A run while it is recorded: live charts, the verdict of the last 30 seconds, and buttons."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from perfscope.analyzer.input.batch_times import batch_times
from perfscope.analyzer.number_text import plural
from perfscope.analyzer.run.window_count import windows_taken
from perfscope.traces.contents import identity
from perfscope.ui.dashboard.cards import figure_data, graphs
from perfscope.ui.dashboard.components import components
from perfscope.ui.dashboard.source import Live
from perfscope.ui.dashboard.watch import TICK_S, WINDOW_NS, Look
from perfscope.ui.figures.batch_times import beat, beats, depths, moved, queue
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
REDRAWN_S = 12.0
"""How often charts that do not move with the beat are made anew: they cost as much as a diagnosis
and change slower.
"""


@dataclass
class Made:
    """What one look looks like, made once for all viewers; `figures` as plain data, `drawn` counts
    how often all were made.
    """

    look: Look
    sections: list[Section]
    figures: dict[str, Any]
    drawn: int


@dataclass
class Drawing:
    """Remembers the newest. All figures are made with a diagnosis now and then; in between the
    beat's points move.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: Made | None = None
    drawn_s: float = -REDRAWN_S

    def of(self, look: Look) -> Made:
        with self.lock:
            if self.due(look):
                self.made = whole(look, 1 if self.made is None else self.made.drawn + 1)
                self.drawn_s = time.monotonic()
            elif self.made is not None and self.made.look.tick != look.tick:
                self.made = moved_on(self.made, look)
            assert self.made is not None
            return self.made

    def due(self, look: Look) -> bool:
        """Are all charts to be made anew? Each time that there is a diagnosis, but not more often
        than they are worth.
        """
        if self.made is None or self.made.look.ended != look.ended:
            return True
        if self.made.look.diagnosed == look.diagnosed:
            return False
        begun = "beat" not in self.made.figures and len(look.recent.fact(batch_times)) > 0
        return begun or time.monotonic() - self.drawn_s >= REDRAWN_S


def span_of(look: Look) -> tuple[float, float]:
    end_s = look.recent.span_ns[1] / 1e9
    return max(end_s - CHARTED_S, 0.0), max(end_s, 1.0)


def whole(look: Look, number: int) -> Made:
    """Every chart: the beat first, then those of the last diagnosis."""
    rows, span = look.recent.fact(batch_times), span_of(look)
    found = []
    if len(rows):
        note = f"One point per batch, the last {CHARTED_S:g} s."
        found.append(Section("beat", "Time between batches", note, beat(beats(rows), span)))
        if series := depths(rows):
            note = "Prefetched batches each time the loop asks for one. At 0 it waits."
            found.append(Section("queue", "Prefetched batches", note, queue(series, span)))
    found += [*recent_workers(look.trace), *host_sections(look.trace)]
    return Made(look, found, {one.id: figure_data(one) for one in found}, number)


def moved_on(made: Made, look: Look) -> Made:
    """The beat of a newer look; a rank or worker that came meanwhile shows with the next
    diagnosis.
    """
    rows, span = look.recent.fact(batch_times), span_of(look)
    figures = dict(made.figures)
    for name, series in (("beat", beats(rows)), ("queue", depths(rows))):
        if name in figures and len(figures[name]["data"]) == len(series):
            figures[name] = moved(figures[name], series, span)
    return Made(look, made.sections, figures, made.drawn)


def layout(live: Live) -> list[Any]:
    """The places; the first tick fills them."""
    return [
        html.Header(
            [
                html.Div(id="live-who"),
                html.Div(
                    [
                        html.Span(id="live-status"),
                        html.Span(
                            [
                                html.Button(
                                    "Profile a few steps now",
                                    id="live-window",
                                    className="button",
                                    title=WINDOW,
                                ),
                                html.Button("Stop recording", id="live-stop", className="button"),
                            ],
                            id="live-controls",
                        ),
                    ]
                ),
            ],
            className="live",
        ),
        html.Div(id="live-said", role="status"),
        html.Div(
            html.Section(
                [
                    html.H1("Recording …"),
                    html.P("Waiting for the first complete steps.", className="muted"),
                ],
                className="card",
            ),
            id="live-answer",
        ),
        html.Div(id="live-cards"),
        html.Div(id="live-changes"),
        dcc.Store(id="live-seen", data=NOTHING_SEEN),
        dcc.Interval(id="live-clock", interval=int(1000 * TICK_S)),
    ]


def register(app: Dash, live: Live) -> None:
    """A tick for whoever looks, and the button."""
    drawing = Drawing()

    def ticked(_: object, sent: object) -> tuple[Any, ...]:
        look, seen = live.watch.now(), seen_by(sent)
        if look is None or (look.tick == seen["tick"]):
            if live.watch.error is not None and seen["tick"] != -1:
                return said_only(live.watch.error)
            raise PreventUpdate
        return news(drawing.of(look), seen)

    def steer(stops: object, windows: object) -> Any:
        if not stops and not windows:
            raise PreventUpdate
        if live.recording is None:
            return "This recording was started in another terminal; end it there with Ctrl-C."
        if ctx.triggered_id == "live-stop":
            live.recording.stop()
            return "Stopping …"
        return (
            "Torch's profiler will record the next steps."
            if live.recording.window()
            else "The recording has ended."
        )

    names = ("live-who", "live-status", "live-answer", "live-cards", "live-changes")
    outputs = [Output(name, "children") for name in names]
    figures = Output({"kind": "figure", "name": ALL}, "data")
    seen = Output("live-seen", "data")
    clock = Input("live-clock", "n_intervals")
    app.callback(
        *outputs,
        Output("live-controls", "hidden"),
        seen,
        figures,
        clock,
        State("live-seen", "data"),
    )(ticked)
    buttons = (Input("live-stop", "n_clicks"), Input("live-window", "n_clicks"))
    app.callback(Output("live-said", "children"), *buttons)(steer)


def seen_by(sent: object) -> dict[str, Any]:
    """Return what a viewer has seen, as `news` told it; nothing where its browser sends something
    else.
    """
    given = sent if isinstance(sent, dict) else {}
    fitting = {
        name: given[name]
        for name, value in NOTHING_SEEN.items()
        if type(given.get(name)) is type(value)
    }
    return {**NOTHING_SEEN, **fitting}


def news(made: Made, seen: dict[str, Any]) -> tuple[Any, ...]:
    """What of a look a viewer has not seen: the answer when there is a new one, cards when there
    are others, figures always.
    """
    look, charts = made.look, [one.id for one in made.sections]
    base = f"/run/{identity(look.trace.path.name)}" if look.trace.path is not None else ""
    fresh = look.diagnosed != seen["diagnosed"] or look.ended is not None
    people = components(subject_line(look.trace, look.diagnosis), base) if fresh else no_update
    answer: Any = (
        components(verdict_and_budget(look.trace, look.diagnosis), base) if fresh else no_update
    )
    changes: Any = components(changes_and_ranks(look.diagnosis), base) if fresh else no_update
    cards: Any = no_update
    if charts != seen["charts"]:
        cards = components(
            f'<div class="charts">{"".join(map(block, made.sections))}</div>',
            base,
            graphs(made.sections),
        )
    asked = [one["id"]["name"] for one in ctx.outputs_list[-1]]
    moving = (
        asked
        if made.drawn != seen["drawn"]
        else [name for name in asked if name in ("beat", "queue")]
    )
    figures = [
        made.figures[name] if name in moving and name in made.figures else no_update
        for name in asked
    ]
    now_seen = {
        "tick": look.tick,
        "diagnosed": look.diagnosed,
        "drawn": made.drawn,
        "charts": charts,
    }
    return (
        people,
        status(look, base),
        answer,
        cards,
        changes,
        look.ended is not None,
        now_seen,
        figures,
    )


def said_only(error: str) -> tuple[Any, ...]:
    """The run can no longer be read: say so, once."""
    asked = ctx.outputs_list[-1]
    seen = {**NOTHING_SEEN, "tick": -1}
    return no_update, error, no_update, no_update, no_update, True, seen, [no_update] * len(asked)


def status(look: Look, base: str) -> list[Any]:
    """How long it has been recorded, or that it is over and where the whole is."""
    minutes, seconds = divmod(int(look.elapsed_s), 60)
    if look.ended is None:
        taken = look.trace.fact(windows_taken)
        shown = f", {plural(taken, 'window')}" if taken else ""
        return [html.I(className="recording"), f"recording {minutes}:{seconds:02d}{shown}"]
    return [
        f"Ended after {minutes}:{seconds:02d}: {look.ended}. ",
        dcc.Link("Open the whole run", href=f"{base}/overview"),
    ]
