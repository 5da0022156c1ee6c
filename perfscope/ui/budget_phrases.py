"""Texts of the parts of a time budget, and of the phases of the whole run."""

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, RunPhase
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.verdict.certainty import share_waiting_for_core

NS_PER_MS = 1e6
NS_PER_S = 1e9
SMALLEST_SHARE = 0.005
"""Parts of a time budget below this share are not shown next to a bar."""
MOST_NAMED = 2
"""How many parts of a rank's time budget are written out next to its bar."""
PHASE_LABELS = {"data-setup": "data set-up", "start-up": "start-up", "warm-up": "warm-up"}
"""Phases whose label is not their id with spaces."""


def category_label(category: str) -> str:
    """Return the label of a category of the time budget."""
    return CATEGORY[category].label


def part_time(part: BudgetEntry, mean_ms: float | None) -> str:
    """Return the time of a part: per step, or in all where there are no steps."""
    if mean_ms is None:
        return ms(part.seconds * NS_PER_S)
    return ms(part.share * mean_ms * NS_PER_MS)


def part_amount(part: BudgetEntry, mean_ms: float | None) -> str:
    """Return `39 ms (78 %)`."""
    return f"{part_time(part, mean_ms)} ({percent(part.share)})"


def largest_parts(budget: list[BudgetEntry]) -> list[BudgetEntry]:
    """Return the parts of a time budget that are large enough to be shown, largest first."""
    shown = [part for part in budget if part.share >= SMALLEST_SHARE]
    return sorted(shown, key=lambda part: -part.share)


def named_parts(budget: list[BudgetEntry]) -> str:
    """Return the largest parts in words: `compute 60 %, input wait 30 %`."""
    largest = largest_parts(budget)[:MOST_NAMED]
    return ", ".join(f"{category_label(part.category)} {percent(part.share)}" for part in largest)


def phase_label(phase: str) -> str:
    """Return a phase of the whole run as text: `data set-up`, `waiting for ranks`."""
    return PHASE_LABELS.get(phase, phase.replace("-", " "))


def phase_amount(phase: RunPhase, diagnosis: Diagnosis) -> str:
    """Return `checkpoint 0.6 s (3 %)`.

    The rest of a recording is unexplained. That of a trace is in its time budget.
    """
    name = phase_label(phase.phase)
    if phase.phase == "other":
        rest = "outside of steps" if diagnosis.steps.count else "recorded"
        name = "unexplained" if diagnosis.budget_over == "steps" else rest
    return f"{name} {ms(phase.seconds * NS_PER_S)} ({percent(phase.share)})"


def core_wait_text(diagnosis: Diagnosis, mean_ms: float | None) -> str:
    """Return `of which waiting for a core 8 ms (46 %)`, "" where the thread does not wait for one.

    The parts of the time budget contain these waits.
    """
    share = share_waiting_for_core(diagnosis)
    if share is None:
        return ""
    time = "" if mean_ms is None else f"{ms(share * mean_ms * NS_PER_MS)} "
    amount = f"{time}({percent(share)})" if time else percent(share)
    return f"of which waiting for a core {amount}"
