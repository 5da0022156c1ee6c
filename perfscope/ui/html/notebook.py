"""The answer as the output of a notebook's cell: the top of the report, alone in a frame of its
own, without script.
"""

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.html.markup import escape
from perfscope.ui.html.overview import the_answer, who
from perfscope.ui.html.report import style

HEIGHT_PX, FINDING_PX = 360, 190
NOT_WITHOUT_SCRIPT = ".doors,.hint{display:none}a{pointer-events:none}"


def summary(trace: Trace, diagnosis: Diagnosis) -> str:
    """HTML of the verdict, where a step goes, and what to change."""
    head = f'<meta charset="utf-8"><style>{style()}{NOT_WITHOUT_SCRIPT}</style>'
    body = f"<main><header>{who(trace, diagnosis)}</header>{the_answer(trace, diagnosis)}</main>"
    page = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
    height = HEIGHT_PX + FINDING_PX * max(len(diagnosis.findings), 1)
    title = escape(f"perfscope: {diagnosis.verdict.headline}")
    return (
        f'<iframe srcdoc="{escape(page)}" title="{title}"'
        f' style="width:100%;height:{height}px;border:0"></iframe>'
    )
