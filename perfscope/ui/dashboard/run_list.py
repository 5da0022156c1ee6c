"""The runs of a folder, newest first, each with its verdict; the list grows by itself."""

import time
from typing import Any

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from perfscope.analyzer.diagnosis import BudgetEntry
from perfscope.analyzer.number_text import digits, ms
from perfscope.traces.contents import Found
from perfscope.ui.dashboard.components import components
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.shell import notice
from perfscope.ui.dashboard.verdicts import Judged, Verdicts
from perfscope.ui.html.markup import prose
from perfscope.ui.html.rank_rows import part
from perfscope.ui.marks import mark_of
from perfscope.ui.phrases import bound_by, gain
from perfscope.ui.terminal.rank_bars import largest_first

LOOK_EVERY_MS = 2000
HEADS = ("run", "what bounds it", "where the time goes", "a step", "to win")


def layout(library: Library, verdicts: Verdicts) -> list[Any]:
    """The list, and the clock that makes it grow."""
    return [
        html.Header(html.Div([html.B("Runs"), html.Span(str(library.root))])),
        html.Div(rows(library, verdicts), id="runs"),
        dcc.Interval(id="runs-clock", interval=LOOK_EVERY_MS),
    ]


def register(app: Dash, library: Library, verdicts: Verdicts) -> None:
    """The list asks again every two seconds."""
    app.callback(Output("runs", "children"), Input("runs-clock", "n_intervals"))(
        lambda _: rows(library, verdicts)
    )


def rows(library: Library, verdicts: Verdicts) -> Component:
    """The table, or what to do where there is nothing yet."""
    runs = library.runs()
    if not runs:
        words = (
            "Record one with `perfscope attach PID`, or put a PyTorch profiler's trace here: it"
            " shows up by itself."
        )
        return notice("No run here yet", words)
    known = verdicts.of(runs)
    head = html.Thead(html.Tr([html.Th(name) for name in HEADS]))
    body = html.Tbody([row(one, known.get(one.id)) for one in runs])
    return html.Section(html.Table([head, body], className="runs"), className="card")


def row(run: Found, judged: Judged | None) -> Component:
    """One run: its name leads to it."""
    name = html.Td(
        [
            dcc.Link(run.name, href=f"/run/{run.id}/overview"),
            html.Div(
                ", ".join([*(judged.who[:1] if judged else []), age(run), size(run)]),
                className="muted",
            ),
        ]
    )
    if judged is None:
        return html.Tr([name, html.Td("looking …", className="muted waiting", colSpan=4)])
    if judged.diagnosis is None:
        return html.Tr(
            [name, html.Td(f"cannot be read: {judged.error}", className="muted", colSpan=4)]
        )
    found = judged.diagnosis
    first = found.verdict.headline
    mark = html.I(className="dot", style={"--c": f"var(--{mark_of(found.verdict.id)})"})
    sure = bound_by(found) + (
        f"; {found.verdict.confidence:.2f} confident" if found.verdict.confidence > 0 else ""
    )
    verdict = html.Td(
        [html.Div([mark, *components(prose(first), "")]), html.Div(sure, className="muted")]
    )
    step = (
        ms(found.steps.mean_ms * 1e6)
        if found.steps.mean_ms is not None
        else f"{digits(found.span_s)} s"
    )
    steps = f"{found.steps.count} steps" if found.steps.count else "recorded"
    win = gain(found.findings[0].speedup, "×")[0] if found.findings else ""
    return html.Tr(
        [
            name,
            verdict,
            html.Td(bar(found.time_budget)),
            html.Td([step, html.Div(steps, className="muted")]),
            html.Td(win),
        ]
    )


def bar(budget: list[BudgetEntry]) -> Any:
    """The time budget in small."""
    parts = "".join(map(part, largest_first(budget)))
    return components(f'<div class="bar small">{parts}</div>', "") if parts else "not known"


def age(run: Found) -> str:
    """`today 14:02`, or the day."""
    then = time.localtime(run.changed_s)
    today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("today %H:%M" if today else "%Y-%m-%d %H:%M", then)


def size(run: Found) -> str:
    return f"{digits(run.bytes / 1e6)} MB"
