"""The budgets of a job's ranks, one line each, the one that the verdict is about marked."""

from rich.text import Text

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, ProcessBudget
from perfscope.analyzer.number_text import percent
from perfscope.ui.phrases import label
from perfscope.ui.terminal.budget_bar import SMALLEST_SHARE, shared_out
from perfscope.ui.theme import DARK

BAR_CELLS = 24
MOST_RANKS = 16
MOST_NAMED = 2


def rank_bars(diagnosis: Diagnosis, colour: bool) -> list[Text]:
    """No lines for a job of one rank; beyond 16 ranks the number of those left out."""
    ranks = diagnosis.per_process
    if len(ranks) < 2:
        return []
    lines = [line(one, diagnosis, colour) for one in ranks[:MOST_RANKS]]
    if len(ranks) > MOST_RANKS:
        lines.append(
            Text(
                f"  and {len(ranks) - MOST_RANKS} more ranks: --json has them all",
                style="bright_black",
            )
        )
    note = "  > the rank that the verdict is about"
    note += (
        "; they ran one after the other: ranks only number them"
        if diagnosis.sequential_processes
        else ""
    )
    return [*lines, Text(note, style="bright_black"), Text("")]


def line(one: ProcessBudget, diagnosis: Diagnosis, colour: bool) -> Text:
    """Its bar, and its largest parts in words."""
    parts = largest_first(one.time_budget)
    name = rank_name(one, diagnosis)
    wide = max(8, *(len(rank_name(each, diagnosis)) + 1 for each in diagnosis.per_process))
    shown = Text(f"{'>' if one.rank == diagnosis.budget_rank else ' '} {name:{wide}}")
    if not parts:
        return shown.append("nothing was measured")
    for part, cells in zip(parts, shared_out(parts, BAR_CELLS), strict=True):
        wait = CATEGORY[part.category].is_wait
        if colour:
            fill = DARK.category[part.category]
            shown.append(("╱" if wait else " ") * cells, style=f"#7a4d16 on {fill}")
        else:
            shown.append(("▒" if wait else "█") * cells)
    words = ", ".join(
        f"{label(part.category)} {percent(part.share)}" for part in parts[:MOST_NAMED]
    )
    return shown.append(f"  {words}")


def rank_name(budget: ProcessBudget, diagnosis: Diagnosis) -> str:
    """Return `rank 3`, with its host where the job has several."""
    hosts = {diagnosis.host_of(entry.process) for entry in diagnosis.per_process}
    host = diagnosis.host_of(budget.process) if len(hosts) > 1 else None
    return f"rank {budget.rank} {host}" if host else f"rank {budget.rank}"


def largest_first(budget: list[BudgetEntry]) -> list[BudgetEntry]:
    return sorted(
        (part for part in budget if part.share >= SMALLEST_SHARE), key=lambda part: -part.share
    )
