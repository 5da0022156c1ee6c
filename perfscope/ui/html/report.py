"""The HTML report: one self-contained file with the answer first and the evidence below; works
offline from disk.
"""

import base64
import hashlib
import json
import time
from functools import cache
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go

from perfscope import __version__
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.html.coverage_cards import coverage_cards
from perfscope.ui.html.devices import devices
from perfscope.ui.html.markup import escape
from perfscope.ui.html.overview import overview
from perfscope.ui.html.plotly_bundle import plotly_script, plotly_source
from perfscope.ui.html.roof_sections import roof_sections
from perfscope.ui.html.sections import Section, sections
from perfscope.ui.html.tables import Table, table_card
from perfscope.ui.html.trace_sections import evidence_of_a_trace
from perfscope.ui.output_file import write_output
from perfscope.ui.theme import DARK, LIGHT, Palette, ink
from perfscope.ui.timeline.embedded import embedded_timeline
from perfscope.ui.timeline.routes import EMBEDDED, script, stylesheet

UNDER_THE_BAR = "budget"
NOSCRIPT = (
    '<noscript><p class="card">The charts need JavaScript; the answer above does'
    " not.</p></noscript>"
)


def write_report(trace: Trace, diagnosis: Diagnosis, path: Path) -> None:
    """Write the report, whole or not at all. Raises OSError."""
    write_output(path, page(trace, diagnosis))


def page(trace: Trace, diagnosis: Diagnosis) -> str:
    """The whole page as text."""
    shown, packed = sections(trace, diagnosis), embedded_timeline(trace, diagnosis)
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    traced = [*roof_sections(trace, rank), *devices(trace), *evidence_of_a_trace(trace, rank)]
    figures = {one.id: one.figure for one in [*shown, *traced] if isinstance(one, Section)}
    under_bar = "".join(chart(one) for one in shown if one.id == UNDER_THE_BAR)
    body = "".join(block(one) for one in shown if one.id != UNDER_THE_BAR)
    body += "".join(table_card(one) if isinstance(one, Table) else block(one) for one in traced)
    return TEMPLATE.format(
        title=escape(f"perfscope: {diagnosis.verdict.headline}"),
        css=style() + stylesheet(),
        overview=overview(trace, diagnosis, under_bar),
        noscript=NOSCRIPT,
        timeline=TIMELINE if packed else "",
        packed=packed,
        sections=body,
        coverage=coverage_cards(trace, diagnosis),
        footer=escape(footer(trace)),
        figures=embedded({name: json.loads(figure.to_json()) for name, figure in figures.items()}),
        palettes=embedded({"light": colours(LIGHT), "dark": colours(DARK)}),
        plotly=plotly_script(),
        script=report_script(),
    )


def report_script() -> str:
    """Return the script of the page, the same for every report."""
    names = (EMBEDDED, "paint.js", "report.js", "search.js", "steps.js", "tables.js")
    return script() + "".join(map(asset, names))


@cache
def script_hashes() -> list[str]:
    """Return the hashes of both scripts that run in the page, as a content security policy names
    them.
    """
    digests = [
        hashlib.sha256(text.encode()).digest() for text in (report_script(), plotly_source())
    ]
    return [f"sha256-{base64.b64encode(digest).decode()}" for digest in digests]


def block(section: Section) -> str:
    """A card with one chart, its title and what it shows."""
    css = "card half" if section.half else "card"
    save = "".join(
        f'<button type="button" class="save" data-picture="{kind}"'
        f' data-name="{section.id}">{kind.upper()}</button>'
        for kind in ("png", "svg")
    )
    heading = f"<h2>{escape(section.title)}<span>{save}</span></h2>"
    return f'<section class="{css}" id="section-{section.id}">{heading}{chart(section)}</section>'


def chart(section: Section) -> str:
    """What it shows in words, and the place the script draws it in."""
    label = escape(f"{section.title}. {section.note}")
    return (
        f'<p class="note">{escape(section.note)}</p>{search(section)}<div class="chart"'
        f' id="{section.id}" role="img" aria-label="{label}"'
        f' style="height:{height(section.figure)}px"></div>'
    )


def search(section: Section) -> str:
    """A field to look for frames in, above the stacks."""
    if not section.id.startswith("stacks-"):
        return ""
    words = "search functions and files"
    field = (
        f'<input type="search" data-chart="{section.id}" placeholder="{words}"'
        f' aria-label="{words}">'
    )
    return f'<div class="search">{field}<output></output></div>'


def height(figure: go.Figure) -> int:
    return int(figure.layout.height or 200)


def style() -> str:
    """The palettes and the style: light, dark where the reader's system is, unless the reader said
    otherwise.
    """
    dark = (
        "@media screen and (prefers-color-scheme:dark){" + variables("html:not(.light)", DARK) + "}"
    )
    dark += "@media screen{" + variables("html.dark", DARK) + "}"
    return (
        variables("html", LIGHT)
        + dark
        + asset("report.css")
        + asset("search.css")
        + asset("tables.css")
    )


def variables(selector: str, palette: Palette) -> str:
    """The palette as CSS variables."""
    names = {
        "bg": palette.bg,
        "surface": palette.surface,
        "text": palette.text,
        "muted": palette.muted,
    }
    names |= {"line": palette.line, "accent": palette.accent}
    for name, colour in palette.category.items():
        names |= {name.replace("_", "-"): colour, f"{name.replace('_', '-')}-ink": ink(colour)}
    return f"{selector}{{{''.join(f'--{name}:{value};' for name, value in names.items())}}}"


def colours(palette: Palette) -> dict[str, str]:
    """What the script repaints figures with."""
    own = {
        "text": palette.text,
        "muted": palette.muted,
        "line": palette.line,
        "accent": palette.accent,
    }
    return own | {"bg": palette.bg, "surface": palette.surface} | palette.category


def embedded(data: object) -> str:
    """JSON inside a script element: nothing in it can end the element."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    return files("perfscope.ui.assets").joinpath(name).read_text("utf-8")


def footer(trace: Trace) -> str:
    manifest = trace.manifest
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.zero_realtime_ns / 1e9))
    return (
        f"recorded {when} on {manifest.host} by perfscope {__version__};"
        f" {' '.join(manifest.command)}"
    )


TIMELINE = (
    '<section class="timeline" id="section-timeline"><h2>Timeline</h2><div'
    ' id="timeline"></div></section>'
)
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body><main>{overview}{noscript}{timeline}<div class="charts">{sections}</div>{coverage}</main><footer>{footer}</footer>
<script type="application/json" id="figures">{figures}</script>
<script type="application/json" id="palettes">{palettes}</script>
<script type="text/plain" id="packed-timeline">{packed}</script>
<script type="text/plain" id="plotly">{plotly}</script>
<script>{script}</script></body></html>
"""  # noqa: E501
