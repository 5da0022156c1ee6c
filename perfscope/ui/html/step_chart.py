"""The steps of a rank as stacked columns; a few steps as bars in rows, each with its number."""

import json

from perfscope.analyzer.budget.step_columns import StepColumn, step_columns
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnosis import Diagnosis, StepSummary
from perfscope.analyzer.number_text import ms
from perfscope.traces.trace import Trace
from perfscope.ui.budget_phrases import category_label
from perfscope.ui.html.markup import escape, timeline_link
from perfscope.ui.theme import texture

FEW_STEPS = 8
"""Up to so many steps are drawn as rows."""
COLUMN_NOTE = (
    "Click a step to see it on the timeline; drag over steps to select them. Outlined steps are"
    " outliers."
)


def step_chart(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the card of the steps of the rank that the budget is that of; "" without steps."""
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    columns = step_columns(trace, rank)
    if not columns:
        return ""
    if len(columns) <= FEW_STEPS and all(column.first == column.last for column in columns):
        chart, note = step_rows(columns), ""
    else:
        chart, note = column_chart(columns, diagnosis.steps), columns_note(columns)
    return (
        '<section class="card" id="section-steps"><h2>Steps</h2>'
        f"{f'<p class=note>{escape(note)}</p>' if note else ''}{chart}</section>"
    )


def columns_note(columns: list[StepColumn]) -> str:
    """Return how the chart is read, and which steps are gray."""
    most = max(column.last - column.first + 1 for column in columns)
    together = f" A column is the mean of up to {most} steps." if most > 1 else ""
    reasons = sorted({column.left_out for column in columns} - {""})
    gray = f" Gray, and not in the time budget: {', '.join(reasons)}." if reasons else ""
    return f"{COLUMN_NOTE}{together}{gray}"


def step_rows(columns: list[StepColumn]) -> str:
    """Return a row per step: its number, its bar, its duration, and a link to the timeline."""
    longest_ns = max(column.slowest_ns for column in columns)
    rows = "".join(step_row(column, longest_ns) for column in columns)
    return f'<table class="step-rows">{rows}</table>'


def step_row(column: StepColumn, longest_ns: int) -> str:
    """Return the row of a step; the longest bar is as wide as its cell."""
    parts = "".join(
        f'<div class="part {texture(name)}" style="flex:{part_ns:.0f};--c:var(--{name})"'
        f' title="{escape(f"{category_label(name)} {ms(part_ns)}")}"></div>'
        for name, part_ns in largest_first(column.parts)
    )
    width = f"width:{100 * column.slowest_ns / max(longest_ns, 1):.2f}%"
    left_out = f' <span class="muted">{escape(column.left_out)}</span>' if column.left_out else ""
    show = timeline_link(column.begin_ns, column.end_ns, "show")
    return (
        f'<tr><th>step {column.first}</th><td><div class="bar" style="{width}">{parts}</div></td>'
        f'<td class="number">{ms(column.slowest_ns)}{left_out}</td><td>{show}</td></tr>'
    )


def largest_first(parts: dict[str, float]) -> list[tuple[str, float]]:
    """Return the parts of a column, the largest first."""
    return sorted(parts.items(), key=lambda part: -part[1])


def column_chart(columns: list[StepColumn], summary: StepSummary) -> str:
    """Return the place that a script draws the columns in, with what it draws."""
    totals = {name: sum(column.parts.get(name, 0.0) for column in columns) for name in CATEGORY_IDS}
    shown = [name for name, total in largest_first(totals) if total > 0]
    data = {
        "categories": [
            {"id": name, "label": category_label(name), "texture": texture(name)} for name in shown
        ],
        "p50_ms": summary.p50_ms,
        "p95_ms": summary.p95_ms,
        "columns": [column_data(column, shown) for column in columns],
    }
    label = escape(f"{len(columns)} columns of steps; the arrow keys move between them")
    return (
        f'<div class="step-chart" tabindex="0" role="application" aria-label="{label}"'
        f' data-steps="{escape(json.dumps(data, separators=(",", ":")))}"></div>'
    )


def column_data(column: StepColumn, shown: list[str]) -> dict[str, object]:
    """Return a column as plain data: seconds for places, milliseconds for durations."""
    return {
        "first": column.first,
        "last": column.last,
        "from": round(column.begin_ns / 1e9, 6),
        "to": round(column.end_ns / 1e9, 6),
        "mean": significant(column.mean_ns / 1e6),
        "slowest": significant(column.slowest_ns / 1e6),
        "left_out": column.left_out,
        "outlier": int(column.is_outlier),
        "parts": [significant(column.parts.get(name, 0.0) / 1e6) for name in shown],
    }


def significant(value_ms: float) -> float:
    """Return a duration with four significant digits."""
    return float(f"{value_ms:.4g}")
