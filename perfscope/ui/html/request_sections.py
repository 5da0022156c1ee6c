"""The charts of the requests to a server."""

from perfscope.analyzer.serving.request_series import RequestSeries, request_series
from perfscope.traces.trace import Trace
from perfscope.ui.figures.request_latency import batch_sizes, request_latency
from perfscope.ui.html.sections import Section, recording_span_s

LATENCY_NOTE = "Of the requests that arrive in each interval, from arrival to answer."
BATCHES_NOTE = "How many calls of the model answer so many requests."
MOST_PROCESSES = 4


def request_sections(trace: Trace) -> list[Section]:
    """Return the charts of each process that answers requests."""
    series = trace.fact(request_series)[:MOST_PROCESSES]
    return [
        section
        for each in series
        for section in sections_of_process(trace, each, is_only=len(series) == 1)
    ]


def sections_of_process(trace: Trace, series: RequestSeries, *, is_only: bool) -> list[Section]:
    """Return the latency over time of one process, and the sizes of its batches if known."""
    name = "" if is_only else f", process {series.process}"
    latency = request_latency(series.intervals, recording_span_s(trace))
    number = series.process
    title = f"Latency over time{name}"
    found = [Section(f"latency-{number}", title, LATENCY_NOTE, latency, is_plain=True)]
    if len(series.batches) > 1:
        sizes = batch_sizes(series.batches)
        title = f"Batch sizes{name}"
        found.append(Section(f"batches-{number}", title, BATCHES_NOTE, sizes, is_plain=True))
    return found
