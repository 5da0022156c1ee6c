"""The runs of a folder, newest first, each with its verdict; new runs appear in the list."""

import time
from typing import Any

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis
from perfscope.analyzer.number_text import digits, ms
from perfscope.traces.folder_contents import Found
from perfscope.ui.dashboard.components import components
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.shell import notice
from perfscope.ui.dashboard.verdicts import Judged, Verdicts
from perfscope.ui.finding_colors import color_category
from perfscope.ui.html.markup import prose
from perfscope.ui.html.rank_rows import small_bar_parts
from perfscope.ui.phrases import (
    NS_PER_MS,
    bound_by_text,
    ordered_findings,
    predicted_speedup,
    verdict_title,
)

REFRESH_EVERY_MS = 2000
HEADS = ("run", "verdict", "where the time goes", "per step", "predicted speedup")


def layout(library: Library, verdicts: Verdicts) -> list[Any]:
    """Return the list, and the clock that refreshes it."""
    return [
        html.Header(html.Div([html.B("Runs"), html.Span(str(library.root))])),
        html.Div(run_table(library, verdicts), id="runs"),
        dcc.Interval(id="runs-clock", interval=REFRESH_EVERY_MS),
    ]


def register(app: Dash, library: Library, verdicts: Verdicts) -> None:
    """Refresh the list every two seconds."""
    app.callback(Output("runs", "children"), Input("runs-clock", "n_intervals"))(
        lambda _: run_table(library, verdicts)
    )


def run_table(library: Library, verdicts: Verdicts) -> Component:
    """Return the table of runs, or how to make one where the folder is empty."""
    runs = library.runs()
    if not runs:
        words = (
            "Record one with `perfscope attach PID`, or copy a trace of the PyTorch profiler into"
            " this folder. New runs appear here within seconds."
        )
        return notice("No runs yet", words)
    known = verdicts.of(runs)
    head = html.Thead(html.Tr([html.Th(name) for name in HEADS]))
    body = html.Tbody([run_row(run, known.get(run.id)) for run in runs])
    return html.Section(html.Table([head, body], className="runs"), className="card")


def run_row(run: Found, judged: Judged | None) -> Component:
    """Return the row of one run; its name is a link to its overview."""
    program = judged.subject[:1] if judged is not None else []
    about = ", ".join([*program, changed_text(run), size_text(run)])
    link = dcc.Link(run.name, href=f"/run/{run.id}/overview")
    name = html.Td([link, html.Div(about, className="muted")])
    if judged is None:
        return html.Tr([name, html.Td("diagnosing …", className="muted waiting", colSpan=4)])
    if judged.diagnosis is None:
        error = f"cannot be read: {judged.error}"
        return html.Tr([name, html.Td(error, className="muted", colSpan=4)])
    return html.Tr([name, *diagnosis_cells(judged.diagnosis)])


def diagnosis_cells(diagnosis: Diagnosis) -> list[Component]:
    """Return the cells that show a diagnosis: verdict, budget, step, predicted speedup."""
    mark = html.I(className="dot", style={"--c": f"var(--{color_category(diagnosis.verdict.id)})"})
    headline = html.Div([mark, *components(prose(verdict_title(diagnosis)), "")])
    bound = html.Div(f"bound by {bound_by_text(diagnosis)}", className="muted")
    steps = diagnosis.steps
    if steps.mean_ms is not None:
        duration, count = ms(steps.mean_ms * NS_PER_MS), f"{steps.count} steps"
    else:
        duration, count = f"{digits(diagnosis.span_s)} s", "recorded"
    first = next(iter(ordered_findings(diagnosis)), None)
    speedup = predicted_speedup(first.speedup, "×")[0] if first is not None else ""
    return [
        html.Td([headline, bound]),
        html.Td(small_bar(diagnosis.time_budget)),
        html.Td([duration, html.Div(count, className="muted")]),
        html.Td(speedup),
    ]


def small_bar(budget: list[BudgetEntry]) -> Any:
    """Return the time budget as a small bar."""
    parts = small_bar_parts(budget)
    return components(f'<div class="bar small">{parts}</div>', "") if parts else "not known"


def changed_text(run: Found) -> str:
    """Return when a run last changed: `today 14:02`, or the date and time."""
    then = time.localtime(run.changed_s)
    is_today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("today %H:%M" if is_today else "%Y-%m-%d %H:%M", then)


def size_text(run: Found) -> str:
    """Return the size of a run in MB."""
    return f"{digits(run.bytes / 1e6)} MB"
