"""The answer as the output of a notebook's cell: the top of the report, without scripts."""

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.html.markup import escape
from perfscope.ui.html.overview import answer_cards, subject_line
from perfscope.ui.html.page_style import report_style

HEIGHT_PX, FINDING_PX = 460, 210
HIDDEN_WITHOUT_SCRIPT = ".links,.hint{display:none}a{pointer-events:none}"


def notebook_summary(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return HTML of the verdict, the time budget, and the recommended changes, in a frame."""
    head = f'<meta charset="utf-8"><style>{report_style()}{HIDDEN_WITHOUT_SCRIPT}</style>'
    header = f"<header>{subject_line(trace, diagnosis)}</header>"
    body = f"<main>{header}{answer_cards(trace, diagnosis)}</main>"
    page = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
    height = HEIGHT_PX + FINDING_PX * max(len(diagnosis.findings), 1)
    title = escape(f"perfscope: {diagnosis.verdict.headline}")
    return (
        f'<iframe srcdoc="{escape(page)}" title="{title}"'
        f' style="width:100%;height:{height}px;border:0"></iframe>'
    )
