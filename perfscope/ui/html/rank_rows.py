"""The time budgets of a job's ranks: a row each, the rank of the verdict is marked."""

from perfscope.analyzer.categories import PEER_WAIT
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, ProcessBudget
from perfscope.analyzer.number_text import percent
from perfscope.ui.budget_phrases import category_label, largest_parts, named_parts
from perfscope.ui.html.markup import card, escape
from perfscope.ui.phrases import hosts_of_ranks, rank_name
from perfscope.ui.theme import texture

MOST_ROWS, FEW_ROWS = 16, 8
"""More ranks than MOST_ROWS are shown by FEW_ROWS of them."""


def rank_rows(diagnosis: Diagnosis) -> str:
    """Return the card of the ranks; nothing for a job of one rank."""
    if len(diagnosis.per_process) < 2:
        return ""
    shown, host_of = shown_budgets(diagnosis), hosts_of_ranks(diagnosis)
    rows = "".join(rank_row(budget, rank_name(budget, host_of), diagnosis) for budget in shown)
    title = "Time per rank"
    if len(shown) < len(diagnosis.per_process):
        title = f"Time per rank: the {len(shown)} of {len(diagnosis.per_process)} that wait least"
    if diagnosis.sequential_processes:
        title = "Time per process (they ran one after the other; ranks only number them)"
    return card(title, f"<table>{rows}</table>", "ranks")


def shown_budgets(diagnosis: Diagnosis) -> list[ProcessBudget]:
    """Return the budgets that are shown: of many, that of the verdict's rank and of the ranks that
    wait least for others.
    """
    if len(diagnosis.per_process) <= MOST_ROWS:
        return diagnosis.per_process
    judged = [each for each in diagnosis.per_process if each.rank == diagnosis.budget_rank]
    others = [each for each in diagnosis.per_process if each.rank != diagnosis.budget_rank]
    return [*judged, *sorted(others, key=peer_wait_share)][:FEW_ROWS]


def peer_wait_share(budget: ProcessBudget) -> float:
    """Return the share of the time that a rank waits for others."""
    return sum(part.share for part in budget.time_budget if part.category == PEER_WAIT)


def rank_row(budget: ProcessBudget, name: str, diagnosis: Diagnosis) -> str:
    """Return the name of a rank, its bar, and its largest parts in words."""
    if budget.rank == diagnosis.budget_rank:
        name += " (verdict)"
    bar = small_bar_parts(budget.time_budget)
    words = named_parts(budget.time_budget) or "nothing was measured"
    return (
        f'<tr><th>{escape(name)}</th><td style="width:50%"><div class="bar"'
        f' style="height:18px;border-radius:4px">{bar}</div></td><td>{escape(words)}</td></tr>'
    )


def small_bar_parts(budget: list[BudgetEntry]) -> str:
    """Return the parts of a small bar without labels."""
    return "".join(small_bar_part(part) for part in largest_parts(budget))


def small_bar_part(part: BudgetEntry) -> str:
    """Return a part of a small bar; its tooltip has the label."""
    tooltip = escape(f"{category_label(part.category)} {percent(part.share)}")
    style = f"flex:{part.share:.5f};--c:var(--{part.category})"
    return f'<div class="part {texture(part.category)}" style="{style}" title="{tooltip}"></div>'
