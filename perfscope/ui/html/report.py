"""The HTML report: one self-contained file that works offline, the diagnosis first."""

import base64
import hashlib
import json
import time
from functools import cache
from pathlib import Path

import plotly.graph_objects as go

from perfscope import __version__
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.html.closed_sections import (
    ClosedSection,
    ContentsEntry,
    closed_chart,
    closed_plain_chart,
    closed_table,
    contents_list,
    plain_chart_body,
)
from perfscope.ui.html.code_tables import lines_table
from perfscope.ui.html.coverage_cards import coverage_cards
from perfscope.ui.html.devices import devices
from perfscope.ui.html.markup import card, escape
from perfscope.ui.html.overview import overview
from perfscope.ui.html.page_style import asset, embedded, report_style, script_colors
from perfscope.ui.html.plotly_bundle import plotly_script, plotly_source
from perfscope.ui.html.request_sections import request_sections
from perfscope.ui.html.roofline_sections import roof_sections
from perfscope.ui.html.run_facts import facts_card
from perfscope.ui.html.sections import PlainChart, Section, sections
from perfscope.ui.html.tables import Table
from perfscope.ui.html.trace_sections import evidence_of_a_trace
from perfscope.ui.output_file import write_output
from perfscope.ui.theme import DARK, LIGHT
from perfscope.ui.timeline.component_files import EMBEDDED, timeline_script, timeline_style
from perfscope.ui.timeline.embedded import embedded_timeline

SCRIPTS = (
    EMBEDDED,
    "figure_colors.js",
    "report.js",
    "search.js",
    "chart_clicks.js",
    "step_chart.js",
    "rank_heat.js",
    "tables.js",
    "copy_code.js",
)
DEFAULT_HEIGHT = 200
FIRST_SECTIONS = (
    ("budget", "Time budget"),
    ("section-steps", "Steps"),
    ("rank-heat", "Ranks and steps"),
    ("ranks", "Ranks"),
    ("changes", "Recommended changes"),
    ("facts", "About this run"),
    ("section-timeline", "Timeline"),
)
LAST_SECTIONS = (("slowest", "Slowest steps"), ("coverage", "What was checked"))
NOSCRIPT = (
    '<noscript><p class="card">The charts need JavaScript; the diagnosis above'
    " does not.</p></noscript>"
)


def write_report(trace: Trace, diagnosis: Diagnosis, path: Path) -> None:
    """Write the report, completely or not at all. Raises OSError."""
    write_output(path, page(trace, diagnosis))


def page(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the whole page as text."""
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    charts = sections(trace)
    evidence = [
        *request_sections(trace),
        *lines_table(diagnosis.by_code),
        *roof_sections(trace, rank),
        *devices(trace),
        *evidence_of_a_trace(trace, rank),
    ]
    packed_timeline = embedded_timeline(trace, diagnosis)
    closed = [closed_part(part) for part in [*charts, *evidence]]
    answer = overview(trace, diagnosis) + facts_card(trace, diagnosis)
    timeline = TIMELINE if packed_timeline else ""
    coverage = coverage_cards(trace, diagnosis)
    figures = {
        part.id: json.loads(part.figure.to_json())
        for part in [*charts, *evidence]
        if isinstance(part, Section)
    }
    return TEMPLATE.format(
        title=escape(f"perfscope: {diagnosis.verdict.headline}"),
        css=report_style() + timeline_style(),
        contents=contents_list(contents_entries(answer + timeline, closed, coverage)),
        overview=answer,
        noscript=NOSCRIPT,
        timeline=timeline,
        packed=packed_timeline,
        sections="".join(part.markup for part in closed),
        coverage=coverage,
        footer=escape(footer(trace)),
        figures=embedded(figures),
        palettes=embedded({"light": script_colors(LIGHT), "dark": script_colors(DARK)}),
        plotly=plotly_script(),
        script=report_script(),
    )


def closed_part(part: Section | PlainChart | Table) -> ClosedSection:
    """Return a chart or a table as a closed section."""
    if isinstance(part, PlainChart):
        return closed_plain_chart(part)
    if isinstance(part, Table):
        return closed_table(part)
    return closed_chart(part, chart(part), save_buttons(part))


def contents_entries(
    answer: str, closed: list[ClosedSection], coverage: str
) -> list[ContentsEntry]:
    """Return the sections that the report has, in their order."""
    before = [entry for entry in FIRST_SECTIONS if f'id="{entry[0]}"' in answer]
    evidence = [(f"section-{part.id}", part.title) for part in closed]
    after = [entry for entry in LAST_SECTIONS if f'id="{entry[0]}"' in coverage]
    return [*before, *evidence, *after]


def report_script() -> str:
    """Return the script of the page, the same for every report."""
    return timeline_script() + "".join(map(asset, SCRIPTS))


@cache
def script_hashes() -> list[str]:
    """Return the hashes of the page's two scripts, for a content security policy."""
    texts = (report_script(), plotly_source())
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    return [f"sha256-{base64.b64encode(digest).decode()}" for digest in digests]


def block(section: Section) -> str:
    """Return a card with a chart, its title, and buttons to save it."""
    css = "card half" if section.half else "card"
    heading = f"<h2>{escape(section.title)}<span>{save_buttons(section)}</span></h2>"
    return f'<section class="{css}" id="section-{section.id}">{heading}{chart(section)}</section>'


def plain_block(part: PlainChart) -> str:
    """Return a card with a chart that is markup."""
    return card(escape(part.title), plain_chart_body(part), f"section-{part.id}")


def save_buttons(section: Section) -> str:
    """Return the buttons that save a chart as a picture."""
    return "".join(
        f'<button type="button" class="save" data-picture="{kind}"'
        f' data-name="{section.id}">{kind.upper()}</button>'
        for kind in ("png", "svg")
    )


def chart(section: Section) -> str:
    """Return the note of a chart, and the place that the script draws it in."""
    label = escape(f"{section.title}. {section.note}")
    return (
        f'<p class="note">{escape(section.note)}</p>{search_field(section)}<div class="chart"'
        f' id="{section.id}" role="img" aria-label="{label}"'
        f' style="height:{height(section.figure)}px"></div>'
    )


def search_field(section: Section) -> str:
    """Return a field to search frames, for the charts of stacks."""
    if not section.id.startswith("stacks-"):
        return ""
    words = "search functions and files"
    field = (
        f'<input type="search" data-chart="{section.id}" placeholder="{words}"'
        f' aria-label="{words}">'
    )
    return f'<div class="search">{field}<output></output></div>'


def height(figure: go.Figure) -> int:
    """Return the height of a figure in pixels."""
    return int(figure.layout.height or DEFAULT_HEIGHT)


def footer(trace: Trace) -> str:
    """Return when, where and how the run was recorded."""
    manifest = trace.manifest
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.zero_realtime_ns / 1e9))
    command = " ".join(manifest.command)
    return f"recorded {when} on {manifest.host} by perfscope {__version__}; {command}"


TIMELINE = (
    '<section class="timeline" id="section-timeline"><h2>Timeline</h2><div'
    ' id="timeline"></div></section>'
)
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body><a class="skip" href="#budget">Skip to the answer</a><div class="report">{contents}
<main>{overview}{noscript}{timeline}<div class="charts">{sections}</div>{coverage}</main></div>
<footer>{footer}</footer>
<script type="application/json" id="figures">{figures}</script>
<script type="application/json" id="palettes">{palettes}</script>
<script type="text/plain" id="packed-timeline">{packed}</script>
<script type="text/plain" id="plotly">{plotly}</script>
<script>{script}</script></body></html>
"""
