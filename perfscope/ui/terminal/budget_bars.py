"""The time budget of a step and the phases of the whole run, a bar of characters each."""

from dataclasses import dataclass

from rich.text import Text

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import Diagnosis, RunPhase
from perfscope.ui.budget_phrases import (
    SMALLEST_SHARE,
    category_label,
    core_wait_text,
    largest_parts,
    part_amount,
    phase_amount,
)
from perfscope.ui.phrases import mean_step_ms
from perfscope.ui.request_phrases import RequestPart, request_parts
from perfscope.ui.terminal.layout import MUTED, TerminalLayout, fill
from perfscope.ui.theme import phase_category, texture

BAR_CELLS = 28
LABEL_CELLS = 13
GAP = "   "


@dataclass(frozen=True)
class BarPart:
    """One part of a bar: its color, its share, and its label."""

    category: str
    share: float
    label: str
    is_wait: bool


def budget_bars(diagnosis: Diagnosis, layout: TerminalLayout) -> list[Text]:
    """Return the bars of the steps and of the whole run; no lines where neither is known.

    A server with batches of its own has a bar of the mean request in place of that of the steps.
    """
    mean_ms = mean_step_ms(diagnosis)
    step_parts = [
        BarPart(
            category=part.category,
            share=part.share,
            label=f"{category_label(part.category)} {part_amount(part, mean_ms)}",
            is_wait=CATEGORY[part.category].is_wait,
        )
        for part in largest_parts(diagnosis.time_budget)
    ]
    phases = [phase for phase in diagnosis.run_budget if phase.share >= SMALLEST_SHARE]
    phases.sort(key=lambda phase: -phase.share)
    step_name = "per step" if mean_ms is not None else "time"
    of_requests = request_parts(diagnosis)
    if of_requests:
        step_name, step_parts = "request", [bar_part_of_request(part) for part in of_requests]
    lines = bar_lines(step_name, step_parts, layout)
    core_wait = core_wait_text(diagnosis, mean_ms)
    if core_wait and not of_requests:
        lines.append(Text(" " * LABEL_CELLS).append(core_wait, style=MUTED))
    if len(phases) > 1 or mean_ms is not None:
        phase_parts = [phase_bar_part(phase, diagnosis) for phase in phases]
        lines += bar_lines("whole run", phase_parts, layout)
    return [*lines, Text("")] if lines else []


def bar_part_of_request(part: RequestPart) -> BarPart:
    """Return a part of the mean request as a part of its bar."""
    return BarPart(part.category, part.share, part.label, part.is_wait)


def phase_bar_part(phase: RunPhase, diagnosis: Diagnosis) -> BarPart:
    """Return a phase of the whole run as a part of its bar."""
    category = phase_category(phase.phase)
    return BarPart(
        category=category,
        share=phase.share,
        label=phase_amount(phase, diagnosis),
        is_wait=texture(category) == "wait",
    )


def bar_lines(name: str, parts: list[BarPart], layout: TerminalLayout) -> list[Text]:
    """Return the parts one after the other, each a fill as long as its share, then its label."""
    if not parts:
        return []
    lines = [Text().append(f"  {name:{LABEL_CELLS - 2}}", style=MUTED)]
    shares = [part.share for part in parts]
    for part, cells in zip(parts, cells_by_share(shares, BAR_CELLS), strict=True):
        entry = fill(part.category, cells, layout, is_wait=part.is_wait).append(f" {part.label}")
        is_first = lines[-1].cell_len <= LABEL_CELLS
        if not is_first and lines[-1].cell_len + len(GAP) + entry.cell_len > layout.width:
            lines.append(Text(" " * LABEL_CELLS))
            is_first = True
        lines[-1].append("" if is_first else GAP).append_text(entry)
    return lines


def cells_by_share(shares: list[float], cells: int) -> list[int]:
    """Return whole cells for each share, at least one, `cells` in all.

    The first share takes what rounding leaves.
    """
    sizes = [max(1, round(share * cells)) for share in shares]
    sizes[0] = max(1, sizes[0] + cells - sum(sizes))
    return sizes
