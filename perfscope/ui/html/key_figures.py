"""The figures under the verdict: speed, use of the device and memory, where they are known."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfscope.analyzer.budget.step_columns import StepColumn
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.request_figures import Requests, ServerFigures
from perfscope.analyzer.serving.request_series import RequestSeries
from perfscope.analyzer.summary.device_figures import device_busy_share, highest_peak
from perfscope.ui.budget_phrases import NS_PER_MS
from perfscope.ui.html.markup import escape
from perfscope.ui.phrases import UNIT_NAMES, ranks_with_budget, shown_p95_ms
from perfscope.ui.request_phrases import latency_bound_text

RATES = TIMELINE = "timeline"
ROOFLINE, HOST, MEMORY = "operators?tab=roofline", "host", "memory"
REQUESTS = "requests"
FEWEST_POINTS, MOST_POINTS = 9, 60
"""Points of a course that is drawn; fewer steps are drawn as rows anyway."""


@dataclass(frozen=True)
class KeyFigure:
    """A figure with its name, a detail that belongs to it ("" for none), and its course over the
    run, where that is known.

    In the report, only a figure with a course is a link: to the chart of steps.
    """

    name: str
    value: str
    detail: str = ""
    course: tuple[float, ...] = ()
    page: str = ""
    """The page of the dashboard that has more about it, "" for none."""


def key_figures(
    diagnosis: Diagnosis,
    columns: Sequence[StepColumn] = (),
    requests: Sequence[RequestSeries] = (),
) -> str:
    """Return the figures that are known as a row; nothing where none is.

    `columns` are the steps, `requests` those of a server, for the course of their time over the
    run.
    """
    course = tuple(column.mean_ns for column in columns if not column.left_out)
    speed = speed_figures(diagnosis, course)
    if serves_requests(diagnosis):
        speed = serving_figures(diagnosis, latency_course(requests))
    figures = [
        *speed,
        *device_figures(diagnosis),
        *memory_figures(diagnosis),
        *rank_figures(diagnosis),
    ]
    cells = "".join(cell(figure) for figure in figures)
    return f'<section class="figures card">{cells}</section>' if figures else ""


def serves_requests(diagnosis: Diagnosis) -> bool:
    """Return whether the run is a server whose requests are known."""
    return diagnosis.workload == "server" and diagnosis.requests is not None


def latency_course(requests: Sequence[RequestSeries]) -> tuple[float, ...]:
    """Return the median latency over time, empty for several processes."""
    if len(requests) != 1:
        return ()
    return tuple(requests[0].intervals["p50_ms"].astype(float))


def serving_figures(diagnosis: Diagnosis, course: tuple[float, ...]) -> list[KeyFigure]:
    """Return what the requests to a server experience, and what it does per second."""
    requests = diagnosis.requests
    assert requests is not None
    figures = [
        *latency_figures(requests, course),
        *rate_figures(requests),
        *load_figures(requests.servers),
    ]
    if requests.wait_share is not None:
        text = "of a request's time"
        figures.append(KeyFigure("waiting", percent(requests.wait_share), text, page=REQUESTS))
    return figures


def latency_figures(requests: Requests, course: tuple[float, ...]) -> list[KeyFigure]:
    """Return the median of each known latency, with its 90th and 99th percentile."""
    figures = []
    for name, percentiles in (
        ("latency", requests.e2e_ms),
        ("TTFT", requests.ttft_ms),
        ("inter-token time", requests.itl_ms),
    ):
        if percentiles is None:
            continue
        higher = [
            f"{label} {latency_bound_text(latency)}"
            for label, latency in (("p90", percentiles.p90), ("p99", percentiles.p99))
            if latency_bound_text(latency)
        ]
        median, detail = latency_bound_text(percentiles.p50), ", ".join(higher)
        points = course if percentiles is requests.e2e_ms else ()
        figures.append(KeyFigure(f"{name}, median", median, detail, points, REQUESTS))
    return [figure for figure in figures if figure.value]


def rate_figures(requests: Requests) -> list[KeyFigure]:
    """Return the known requests and tokens per second."""
    rates = (
        ("requests/s", requests.rate_per_s),
        ("output tokens/s", requests.output_tokens_per_s),
        ("prompt tokens/s", requests.prompt_tokens_per_s),
    )
    failed = f"{requests.failed:,} failed" if requests.failed else ""
    return [
        KeyFigure(name, digits(rate), failed if name == "requests/s" else "", page=REQUESTS)
        for name, rate in rates
        if rate
    ]


def load_figures(servers: Sequence[ServerFigures]) -> list[KeyFigure]:
    """Return the requests that wait in an engine and how full its KV cache is; of one engine."""
    if len(servers) != 1:
        return []
    figures, server = [], servers[0]
    if server.waiting_mean is not None and server.running_mean is not None:
        running = f"{digits(server.running_mean)} running"
        figures.append(KeyFigure("waiting requests", digits(server.waiting_mean), running))
    if server.kv_cache_mean is not None:
        most = percent(server.kv_cache_highest or 0.0)
        figures.append(KeyFigure("KV cache", percent(server.kv_cache_mean), f"at most {most}"))
    return figures


def cell(figure: KeyFigure) -> str:
    """Return the name of a figure over its value and detail."""
    detail = f"<small>{escape(figure.detail)}</small>" if figure.detail else ""
    words = f"<span>{escape(figure.name)}</span><b>{escape(figure.value)}</b>{detail}"
    if len(figure.course) >= FEWEST_POINTS and figure.page == REQUESTS:
        return f'<a data-page="{figure.page}">{words}{sparkline(figure.course)}</a>'
    if len(figure.course) >= FEWEST_POINTS:
        return f'<a href="#section-steps">{words}{sparkline(figure.course)}</a>'
    return f'<a data-page="{figure.page}">{words}</a>' if figure.page else f"<div>{words}</div>"


def sparkline(course: Sequence[float]) -> str:
    """Return a small area chart of these values, from zero."""
    together = -(-len(course) // MOST_POINTS)
    points = [max(course[at : at + together]) for at in range(0, len(course), together)]
    highest = max(points) or 1.0
    across = 100 / max(len(points) - 1, 1)
    edge = [
        f"{at * across:.1f}% {100 - 100 * value / highest:.0f}%" for at, value in enumerate(points)
    ]
    polygon = ",".join(["0% 100%", *edge, "100% 100%"])
    return f'<i class="spark" style="clip-path:polygon({polygon})"></i>'


def speed_figures(diagnosis: Diagnosis, course: tuple[float, ...]) -> list[KeyFigure]:
    """Return the time of a step, and what is done per second."""
    steps, rates, figures = diagnosis.steps, diagnosis.throughput, []
    unit = UNIT_NAMES.get(steps.unit, "step")
    if steps.p50_ms is not None:
        p95_ms = shown_p95_ms(diagnosis)
        p95 = "" if p95_ms is None else f"p95 {ms(p95_ms * NS_PER_MS)}"
        figures.append(KeyFigure(f"{unit}, median", ms(steps.p50_ms * NS_PER_MS), p95, course))
    named = (
        (f"{unit}s/s" if unit != "forward pass" else "passes/s", rates.steps_per_s),
        ("samples/s", rates.samples_per_s),
        ("tokens/s", rates.tokens_per_s),
    )
    figures += [
        KeyFigure(name, digits(rate.value), rate_scope(rate.scope), page=RATES)
        for name, rate in named
        if rate.value is not None
    ]
    if rates.mfu.value is not None:
        figures.append(KeyFigure("MFU", percent(rates.mfu.value), page=ROOFLINE))
    return figures


def rate_scope(scope: str | None) -> str:
    """Return what a rate is that of, where it is not the whole job's."""
    if scope in (None, "job"):
        return ""
    return scope if scope.startswith("sum of ") else f"of one {scope}"


def device_figures(diagnosis: Diagnosis) -> list[KeyFigure]:
    """Return the share of the time in which the device works; nothing for a program without one."""
    busy = device_busy_share(diagnosis)
    return [] if busy is None else [KeyFigure("device busy", percent(busy), page=TIMELINE)]


def memory_figures(diagnosis: Diagnosis) -> list[KeyFigure]:
    """Return the highest peak memory of a device, else of the host, and its limit."""
    most = highest_peak(diagnosis)
    if most is None:
        return []
    limit = "" if most.limit_bytes is None else f"of {megabytes(most.limit_bytes)}"
    place, page = ("host", HOST) if most.device is None else ("device", MEMORY)
    return [KeyFigure(f"peak memory, {place}", megabytes(most.peak_bytes), limit, page=page)]


def rank_figures(diagnosis: Diagnosis) -> list[KeyFigure]:
    """Return the number of ranks and the one that the budget is that of."""
    ranks = ranks_with_budget(diagnosis)
    if len(ranks) < 2:
        return []
    shown = diagnosis.budget_rank
    return [KeyFigure("ranks", str(len(ranks)), "" if shown is None else f"shown: rank {shown}")]
