"""The requests to a server in the report: a table of latencies, and one of the servers."""

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.number_text import digits
from perfscope.ui.html.markup import card, escape
from perfscope.ui.request_phrases import (
    QUANTILES,
    highest_rate_text,
    latency_rows,
    load_rows,
    load_text_of_server,
    request_parts,
    requests_text,
    servers_of,
    service_level_texts,
    stage_text,
)
from perfscope.ui.theme import texture

SHARE_WITH_LABEL = 0.2
"""Parts of the bar of at least this share have their label in them."""
BY_METRICS = (
    "By the metrics of the engine. A percentile has the bucket of its histogram as interval: the"
    " value is between its bounds."
)
OTHER_RATES = (
    "The same requests, closer together or farther apart: a replay of the batches. Requests arrive"
    " whether or not earlier ones were answered."
)
BY_LOG = "By the times of each request. A percentile has its 95 % interval (bootstrap)."


def requests_card(diagnosis: Diagnosis) -> str:
    """Return the requests as tables; nothing where no requests were recorded."""
    requests = diagnosis.requests
    if requests is None:
        return ""
    stages = "" if request_parts(diagnosis) else stage_text(requests)
    mean = f'<p class="note">Mean per request: {escape(stages)}.</p>' if stages else ""
    note = BY_METRICS if requests.is_by_metrics else BY_LOG
    levels = "".join(f"<p>{escape(text)}.</p>" for text in service_level_texts(requests))
    body = (
        f'<p class="note">{escape(", ".join(requests_text(diagnosis)))}. {note}</p>'
        f"{request_bar(diagnosis)}{latency_table(diagnosis)}{levels}{mean}"
        f"{load_table(diagnosis)}{server_table(diagnosis)}"
    )
    return card("Requests", body)


def request_bar(diagnosis: Diagnosis) -> str:
    """Return the parts of the mean request as a bar with a legend; nothing where unknown."""
    parts = request_parts(diagnosis)
    if not parts:
        return ""
    bar = legend = ""
    for part in parts:
        css, color = texture(part.category), f"--c:var(--{part.category})"
        words = escape(part.label) if part.share >= SHARE_WITH_LABEL else ""
        style = f"flex:{part.share:.5f};{color};--ink:var(--{part.category}-ink)"
        title = escape(f"{part.label}: {part.meaning}.")
        bar += f'<div class="part {css}" style="{style}" title="{title}"><span>{words}</span></div>'
        key = f'<i class="{css}" style="{color}"></i>'
        legend += f'<span title="{title}">{key}{escape(part.label)}</span>'
    return (
        '<p class="note">Mean request, from its arrival at the handler to its answer:</p>'
        f'<div class="bar">{bar}</div><div class="legend">{legend}</div>'
    )


def latency_table(diagnosis: Diagnosis) -> str:
    """Return the percentiles of each latency as a table; nothing where none is known."""
    requests = diagnosis.requests
    rows = [] if requests is None else latency_rows(requests)
    if not rows:
        return ""
    heads = "".join(f'<th class="text">{name}</th>' for name in ("latency", *QUANTILES))
    body = "".join(cells_row([name, *values]) for name, values in rows)
    return scrolling_table(heads, body)


def load_table(diagnosis: Diagnosis) -> str:
    """Return the predicted latencies at other rates as a table, and the highest rate."""
    requests = diagnosis.requests
    rows = [] if requests is None else load_rows(requests)
    highest = "" if requests is None else highest_rate_text(requests)
    most = f'<p class="note">The model answers {escape(highest)}.</p>' if highest else ""
    if not rows:
        return most
    heads = "".join(f'<th class="text">{name}</th>' for name in ("predicted at", *QUANTILES))
    table = scrolling_table(heads, "".join(map(cells_row, rows)))
    return f'<p class="note">{OTHER_RATES}</p>{table}{most}'


def server_table(diagnosis: Diagnosis) -> str:
    """Return a row per server with its load."""
    requests = diagnosis.requests
    rows = [] if requests is None else servers_of(requests)
    body = "".join(
        cells_row(
            [
                row.server.url,
                row.server.engine,
                "not known" if row.rate_per_s is None else digits(row.rate_per_s),
                load_text_of_server(row.server),
            ]
        )
        for row in rows
        if row.server is not None
    )
    heads = "".join(
        f'<th class="text">{name}</th>' for name in ("server", "engine", "requests/s", "load")
    )
    return scrolling_table(heads, body) if body else ""


def cells_row(texts: list[str]) -> str:
    """Return a row of a table."""
    return f"<tr>{''.join(f'<td class=text>{escape(text)}</td>' for text in texts)}</tr>"


def scrolling_table(heads: str, body: str) -> str:
    """Return a table that scrolls where it is wider than the page."""
    return (
        f'<div class="wide"><table class="wraps"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
