"""The end of every page: what was checked, what was not and why, and the overhead."""

from perfscope.analyzer.budget.step_columns import own_numbers
from perfscope.analyzer.diagnosis import Diagnosis, SlowStep, Source
from perfscope.analyzer.number_text import ms, percent
from perfscope.traces.trace import Trace
from perfscope.ui.budget_phrases import NS_PER_MS, NS_PER_S, category_label
from perfscope.ui.coverage import (
    incomplete_parts,
    not_checked_by_reason,
    overhead_text,
    readable_name,
)
from perfscope.ui.html.markup import card, escape, prose, timeline_link
from perfscope.ui.html.step_chart import FEW_STEPS
from perfscope.ui.phrases import unknown_rates

EVERYTHING = "<tr><td>Everything was checked.</td></tr>"


def coverage_cards(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the slowest steps, and a closed section of what was checked and what was not."""
    rows, count = not_checked_rows(trace, diagnosis), len(diagnosis.not_checked)
    left = f"<div><h2>Not checked, and why</h2><table>{rows}</table></div>"
    pills = "".join(
        f'<span class="pill">{escape(readable_name(finding_id))}</span>'
        for finding_id in diagnosis.clear
    )
    sources = "".join(source_row(source) for source in diagnosis.sources)
    source_table = f"<h2>Data sources and their cost</h2><table>{sources}</table>"
    right = (
        f'<div><h2>Checked, not found</h2><p class="pills">{pills or "nothing"}</p>'
        f"{overhead_parts(diagnosis)}{source_table if sources else ''}</div>"
    )
    summary = f"{len(diagnosis.clear)} checked and not found, {count} not checked"
    if not trace.is_profiler_trace:
        summary += f"; instrumentation level {escape(trace.manifest.depth)}"
    return (
        f"{slowest_steps_card(trace, diagnosis)}"
        '<details class="card evidence printed" id="coverage">'
        f"<summary><h2>What was checked</h2><small>{summary}</small></summary>"
        f'<div class="pair">{left}{right}</div></details>'
    )


def not_checked_rows(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return a table row per reason: first for the whole process, then for each finding."""
    rows = []
    if trace.manifest.depth_reason:
        rows.append(("probe in the process", trace.manifest.depth_reason))
    for group in not_checked_by_reason(diagnosis.not_checked):
        rows.append((", ".join(map(readable_name, group.findings)), group.text))
    rows += [
        (readable_name(what), why) for what, why in incomplete_parts(diagnosis, include_absent=True)
    ]
    rows += unknown_rates(diagnosis)
    cells = [
        f'<tr><th class="many">{escape(what)}</th><td>{prose(why)}</td></tr>' for what, why in rows
    ]
    return "".join(cells) or EVERYTHING


def slowest_steps_card(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the slowest steps, each with a link to the timeline; nothing where all are drawn."""
    if diagnosis.steps.count <= FEW_STEPS:
        return ""
    rows = "".join(slow_step_row(trace, diagnosis, step) for step in diagnosis.steps.slowest)
    heads = "<tr><th>step</th><th>duration</th><th>mostly longer</th><th></th></tr>"
    return card("Slowest steps", f"<table>{heads}{rows}</table>", "slowest")


def slow_step_row(trace: Trace, diagnosis: Diagnosis, step: SlowStep) -> str:
    """Return the table row of one slow step, with the number that the chart of steps has."""
    category = category_label(step.category) if step.category is not None else ""
    end_ns = step.start_ns + int(step.ms * NS_PER_MS)
    link = timeline_link(step.start_ns, end_ns, "show")
    process = diagnosis.budget_process if diagnosis.budget_process is not None else -1
    number = trace.fact(own_numbers).get((process, step.start_ns), step.index)
    cells = (str(number), ms(step.ms * NS_PER_MS), category)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{link}</td></tr>"


def overhead_parts(diagnosis: Diagnosis) -> str:
    """Return the overhead and its parts; nothing where it is not known."""
    overhead, text = diagnosis.overhead, overhead_text(diagnosis)
    if overhead is None or text is None:
        return ""
    rows = "".join(
        f"<tr><th>{escape(part.name)}</th><td>{ms(max(part.seconds, 0.0) * NS_PER_S)}</td></tr>"
        for part in overhead.parts
    )
    title = f"<h2>Overhead<small>{escape(text)} of the recorded time</small></h2>"
    return f"{title}<table>{rows}</table>"


def source_row(source: Source) -> str:
    """Return the table row of a data source: its status, and its cost or reason."""
    cost = "" if source.overhead_share is None else f"{percent(source.overhead_share)} of a core"
    text = source.reason if source.status == "ok" and source.reason else cost
    cells = f"<td>{escape(source.status)}</td><td>{escape(text)}</td>"
    return f"<tr><th>{escape(readable_name(source.name))}</th>{cells}</tr>"
