"""The time budget as one bar of characters, its parts labelled where they lie, and a legend with
all of them.
"""

from rich.text import Text

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis
from perfscope.ui.phrases import amount, label, step_ms, time_of
from perfscope.ui.theme import DARK, ink

SMALLEST_SHARE = 0.005
INDENT = 10


def budget_bar(diagnosis: Diagnosis, width: int, colour: bool) -> list[Text]:
    """The bar and its legend; no lines without a budget. `colour` False: the same words, fills as
    blocks.
    """
    parts = sorted(
        (one for one in diagnosis.time_budget if one.share >= SMALLEST_SHARE),
        key=lambda one: -one.share,
    )
    if not parts:
        return []
    mean_ms = step_ms(diagnosis)
    bar = Text("  a step  " if mean_ms is not None else "  time    ")
    for part, cells in zip(parts, shared_out(parts, width - INDENT), strict=True):
        bar.append_text(cell_run(part, cells, mean_ms, colour))
    return [bar, *legend(parts, mean_ms, width, colour), Text("")]


def cell_run(part: BudgetEntry, cells: int, mean_ms: float | None, colour: bool) -> Text:
    """One part: its longest label that fits, then its fill; waits are filled with strokes."""
    words = next((one for one in labels(part, mean_ms) if len(one) <= cells - 1), "")
    wait = CATEGORY[part.category].is_wait
    if not colour:
        return Text(words + ("▒" if wait else "█") * (cells - len(words)))
    fill = DARK.category[part.category]
    run = Text(words, style=f"{ink(fill)} on {fill}")
    return run.append(("╱" if wait else " ") * (cells - len(words)), style=f"#7a4d16 on {fill}")


def labels(part: BudgetEntry, mean_ms: float | None) -> list[str]:
    """From the fullest to the shortest."""
    name = label(part.category)
    return [f" {name} {time_of(part, mean_ms)} ", f" {name} "]


def legend(parts: list[BudgetEntry], mean_ms: float | None, width: int, colour: bool) -> list[Text]:
    """Every part with its time and share, as many on a line as fit."""
    lines = [Text(" " * INDENT)]
    for part in parts:
        entry = Text().append("■ " if colour else "", style=DARK.category[part.category])
        entry.append(f"{label(part.category)} {amount(part, mean_ms)}")
        if lines[-1].cell_len > INDENT and lines[-1].cell_len + 3 + entry.cell_len > width:
            lines.append(Text(" " * INDENT))
        lines[-1].append("   " if lines[-1].cell_len > INDENT else "").append_text(entry)
    return lines


def shared_out(parts: list[BudgetEntry], cells: int) -> list[int]:
    """Whole cells for each part, at least one, together `cells`; the largest takes what rounding
    leaves.
    """
    sizes = [max(1, round(one.share * cells)) for one in parts]
    sizes[0] += cells - sum(sizes)
    return sizes
