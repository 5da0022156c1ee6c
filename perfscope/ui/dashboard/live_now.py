"""The top of the live page: the pace of the loop, the age of the data, and the stage of a recording
that has no verdict yet.
"""

from typing import Any

from dash import html
from dash.development.base_component import Component

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.input.live_progress import (
    FIRST_STEP,
    LOOP_NOT_REACHED,
    OUTSIDE,
    RUNNING,
    STARTING,
    LiveProgress,
)
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.serving.live_requests import LiveRequests
from perfscope.ui.budget_phrases import NS_PER_MS

OLD_S = 3.0
"""The recorder writes once per second. Data that are older than this are marked."""
STAGES = {
    STARTING: ("Starting", "Waiting for the first data of the recorder."),
    OUTSIDE: ("Recording from outside", "Steps are not visible at this depth."),
    LOOP_NOT_REACHED: (
        "Waiting for the training loop",
        "The process is being recorded. Nothing of a training loop has been seen yet: it may be"
        " starting, loading data or compiling.",
    ),
    FIRST_STEP: ("Waiting for the first complete step", "The process is in its training loop."),
    RUNNING: ("Steps are being recorded", "The first verdict follows within seconds."),
}


def request_figures(requests: LiveRequests) -> list[tuple[str, str]]:
    """Return the rate and the latencies of the requests of the last seconds."""
    kind = "mean" if requests.are_means else "p50"
    latencies = (
        (f"TTFT {kind}", requests.ttft_ms),
        (f"inter-token {kind}", requests.itl_ms),
        (f"end to end {kind}", requests.e2e_ms),
    )
    rate = "" if requests.per_s is None else digits(requests.per_s)
    known = [(name, ms(value * NS_PER_MS)) for name, value in latencies if value is not None]
    return [("requests/s, last seconds", rate), *known]


def pace_strip(progress: LiveProgress, requests: LiveRequests | None = None) -> list[Component]:
    """Return the pace of the last seconds: of requests where there are any, else of steps; nothing
    without either.
    """
    if requests is not None:
        return strip_of_figures(request_figures(requests))
    if progress.step_ms is None:
        return []
    figures = [
        ("step, last seconds", ms(progress.step_ms * NS_PER_MS)),
        ("steps/s", digits(progress.steps_per_s) if progress.steps_per_s is not None else ""),
        (
            "waiting for data",
            percent(progress.wait_share) if progress.wait_share is not None else "",
        ),
    ]
    return strip_of_figures(figures)


def strip_of_figures(figures: list[tuple[str, str]]) -> list[Component]:
    """Return the figures that are known, in one strip."""
    cells = [html.Div([html.Span(name), html.B(value)]) for name, value in figures if value]
    return [html.Section(cells, className="figures card")]


def age_text(age_s: float) -> Any:
    """Return how old the newest data are; old data are marked."""
    css = "data-age old" if age_s > OLD_S else "data-age"
    return html.Span(f"data {age_s:.0f} s old" if age_s >= 1 else "data up to date", className=css)


def stage_card(progress: LiveProgress, diagnosis: Diagnosis) -> list[Any] | None:
    """Return what a recording waits for, None where it has a verdict.

    What is recorded from outside has one without steps.
    """
    has_verdict = diagnosis.steps.mean_ms is not None or diagnosis.requests is not None
    if has_verdict or progress.stage == OUTSIDE:
        return None
    return notice_of_stage(progress.stage)


def notice_of_stage(stage: str) -> list[Any]:
    """Return the card that says what a recording waits for."""
    title, text = STAGES[stage]
    words = [html.H1(title), html.P(text, className="muted")]
    return [html.Section(words, className="card stage")]
