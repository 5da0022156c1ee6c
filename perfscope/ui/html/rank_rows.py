"""The budgets of a job's ranks on the page, a row each, the one that the verdict is about named
so.
"""

from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, ProcessBudget
from perfscope.analyzer.number_text import percent
from perfscope.ui.html.markup import escape
from perfscope.ui.phrases import label
from perfscope.ui.terminal.rank_bars import MOST_NAMED, largest_first, rank_name
from perfscope.ui.theme import texture


def rank_rows(diagnosis: Diagnosis) -> str:
    """HTML of the card; nothing for a job of one rank."""
    if len(diagnosis.per_process) < 2:
        return ""
    rows = "".join(row(entry, diagnosis) for entry in diagnosis.per_process)
    title = (
        "The processes, one after the other: ranks only number them"
        if diagnosis.sequential_processes
        else "The ranks beside each other"
    )
    return f'<section class="card" id="ranks"><h2>{title}</h2><table>{rows}</table></section>'


def row(entry: ProcessBudget, diagnosis: Diagnosis) -> str:
    """Return the name, the bar and the largest parts in words."""
    parts = largest_first(entry.time_budget)
    bar = "".join(map(part, parts))
    words = ", ".join(
        f"{label(each.category)} {percent(each.share)}" for each in parts[:MOST_NAMED]
    )
    name = escape(rank_name(entry, diagnosis))
    name += ", the subject of the verdict" if entry.rank == diagnosis.budget_rank else ""
    return (
        f'<tr><th>{name}</th><td style="width:50%"><div class="bar"'
        f' style="height:18px;border-radius:4px">{bar}</div></td>'
        f"<td>{escape(words or 'nothing was measured')}</td></tr>"
    )


def part(each: BudgetEntry) -> str:
    css = f"part {texture(each.category)}"
    told = escape(f"{label(each.category)} {percent(each.share)}")
    return (
        f'<div class="{css}" style="flex:{each.share:.5f};--c:var(--{each.category})"'
        f' title="{told}"></div>'
    )
