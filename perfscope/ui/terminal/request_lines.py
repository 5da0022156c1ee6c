"""The requests to a server in the terminal: load, latencies and stages."""

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.ui.request_phrases import (
    QUANTILES,
    highest_rate_text,
    latency_rows,
    load_rows,
    load_text_of_server,
    request_parts,
    servers_of,
    service_level_texts,
    stage_text,
)
from perfscope.ui.terminal.coverage_lines import label_lines, text_cells
from perfscope.ui.terminal.layout import TerminalLayout, wrapped

MOST_SERVERS = 4


def request_lines(diagnosis: Diagnosis, layout: TerminalLayout) -> list[Text]:
    """Return what the requests experienced; nothing where no requests were recorded."""
    requests = diagnosis.requests
    if requests is None:
        return []
    texts = []
    rows = servers_of(requests)
    shown = rows if layout.verbose else rows[:MOST_SERVERS]
    for row in shown:
        if row.server is not None:
            load = load_text_of_server(row.server)
            texts.append(("load", f"{row.server.url}: {load}" if len(rows) > 1 else load))
    if len(rows) > len(shown):
        texts.append(("", f"and {len(rows) - len(shown)} more servers, --verbose lists all"))
    for name, values in latency_rows(requests):
        pairs = zip(QUANTILES, values, strict=True)
        texts.append((name, ", ".join(f"{quantile} {value}" for quantile, value in pairs)))
    predicted = load_rows(requests) if layout.verbose else load_rows(requests)[-1:]
    for place, (rate, p50, _, p99) in enumerate(predicted):
        texts.append(("" if place else "predicted at", f"{rate}: p50 {p50}, p99 {p99}"))
    texts.append(("the model answers", highest_rate_text(requests)))
    texts += [("service level", text) for text in service_level_texts(requests)]
    stages = "" if request_parts(diagnosis) else stage_text(requests)
    if stages:
        texts.append(("mean per request", stages))
    cells = text_cells(layout)
    lines = [
        line for name, text in texts if text for line in label_lines(name, wrapped(text, cells))
    ]
    return [*lines, Text("")]
