"""The time budgets of a job's ranks, one line each; the rank of the verdict is marked."""

from rich.text import Text

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import Diagnosis, ProcessBudget
from perfscope.ui.budget_phrases import largest_parts, named_parts
from perfscope.ui.phrases import hosts_of_ranks, rank_name
from perfscope.ui.terminal.budget_bars import cells_by_share
from perfscope.ui.terminal.layout import MUTED, TerminalLayout, fill

BAR_CELLS = 24
SHORTEST_NAME = 8
MOST_RANKS, MOST_RANKS_VERBOSE = 6, 64


def rank_bars(diagnosis: Diagnosis, layout: TerminalLayout) -> list[Text]:
    """Return a line per rank, and the number of the ranks left out; nothing for a single rank."""
    ranks = diagnosis.per_process
    if len(ranks) < 2:
        return []
    shown = ranks[: MOST_RANKS_VERBOSE if layout.verbose else MOST_RANKS]
    marked = next((each for each in ranks if is_marked(each, diagnosis)), None)
    if marked is not None and marked not in shown:
        shown = [*shown[:-1], marked]
    host_of = hosts_of_ranks(diagnosis)
    names = [rank_name(each, host_of) for each in shown]
    name_cells = max(SHORTEST_NAME, *(len(name) + 1 for name in names))
    lines = [
        rank_line(each, f"{name:{name_cells}}", layout, marked=is_marked(each, diagnosis))
        for each, name in zip(shown, names, strict=True)
    ]
    note = "  > the rank of the verdict"
    if diagnosis.sequential_processes:
        note += "; the processes ran one after the other, ranks only number them"
    if len(ranks) > len(shown):
        where = "--json has" if layout.verbose else "--verbose lists"
        note += f"; {len(ranks) - len(shown)} more ranks, {where} them"
    return [*lines, Text(note, style=MUTED), Text("")]


def is_marked(budget: ProcessBudget, diagnosis: Diagnosis) -> bool:
    """Return whether this is the rank of the verdict."""
    return budget.rank == diagnosis.budget_rank


def rank_line(budget: ProcessBudget, name: str, layout: TerminalLayout, *, marked: bool) -> Text:
    """Return the name of a rank, its bar, and its largest parts in words."""
    mark = ">" if marked else " "
    line = Text(f"{mark} {name}")
    parts = largest_parts(budget.time_budget)
    if not parts:
        return line.append("nothing was measured")
    cells = cells_by_share([part.share for part in parts], BAR_CELLS)
    for part, size in zip(parts, cells, strict=True):
        is_wait = CATEGORY[part.category].is_wait
        line.append_text(fill(part.category, size, layout, is_wait=is_wait))
    return line.append(f"  {named_parts(budget.time_budget)}")
