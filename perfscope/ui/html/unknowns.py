"""The end of every page: what was looked for and not there, what was not measured and why, what
looking cost.
"""

from perfscope.analyzer.diagnosis import Diagnosis, Source
from perfscope.analyzer.number_text import ms, percent
from perfscope.traces.trace import Trace
from perfscope.ui.html.markup import escape, prose
from perfscope.ui.phrases import missing, overhead


def unknowns(trace: Trace, diagnosis: Diagnosis) -> str:
    """HTML of the two cards."""
    rows = [*missing(diagnosis)]
    if trace.manifest.depth_reason:
        rows.insert(0, ("inside the process", trace.manifest.depth_reason))
    table = "".join(
        f'<tr><th class="many">{escape(what)}</th><td>{prose(why or "")}</td></tr>'
        for what, why in rows
    )
    clear = "".join(f'<span class="pill">{escape(one)}</span>' for one in diagnosis.clear)
    return (
        '<div class="pair"><section class="card"><h2>Not measured, and why</h2>'
        f"<table>{table or '<tr><td>Everything was measured.</td></tr>'}</table></section>"
        '<section class="card"><h2>Looked for and not there</h2><p'
        f' class="pills">{clear or "nothing"}</p>'
        f"{overhead_parts(diagnosis)}"
        "<h2>Sources, and what each"
        f" cost</h2><table>{''.join(map(source, diagnosis.sources))}</table></section></div>"
    )


def overhead_parts(diagnosis: Diagnosis) -> str:
    """HTML of the overhead and what it is made of; nothing where it is not known."""
    cost, said = diagnosis.overhead, overhead(diagnosis)
    if cost is None or said is None:
        return ""
    rows = "".join(
        f"<tr><th>{escape(one.name)}</th><td>{ms(int(max(one.seconds, 0.0) * 1e9))}</td></tr>"
        for one in cost.parts
    )
    return (
        f"<h2>Overhead<small>{escape(said)} of the recorded time</small></h2><table>{rows}</table>"
    )


def source(one: Source) -> str:
    cost = "" if one.overhead_share is None else f"{percent(one.overhead_share)} of a core"
    said = one.reason if one.name == "clocks" and one.status == "ok" and one.reason else cost
    return (
        f"<tr><th>{escape(one.name)}</th><td>{escape(one.status)}</td><td>{escape(said)}</td></tr>"
    )
