"""The top of every page: verdict, key figures, time budget, recommended changes."""

from perfscope.analyzer.budget.longest_interval import StepInterval, longest_stretch
from perfscope.analyzer.budget.step_columns import step_columns
from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, RunPhase
from perfscope.analyzer.number_text import capitalized, ms
from perfscope.analyzer.serving.request_series import request_series
from perfscope.analyzer.verdict.certainty import counted_s
from perfscope.traces.trace import Trace
from perfscope.ui.budget_phrases import (
    NS_PER_MS,
    NS_PER_S,
    category_label,
    core_wait_text,
    part_amount,
    part_time,
    phase_amount,
)
from perfscope.ui.coverage import overhead_text
from perfscope.ui.html.finding_cards import finding_cards
from perfscope.ui.html.key_figures import key_figures
from perfscope.ui.html.markup import card, escape, timeline_place
from perfscope.ui.html.predicted_bar import predicted_bar
from perfscope.ui.html.rank_heat import rank_heat_card
from perfscope.ui.html.rank_rows import rank_rows
from perfscope.ui.html.requests import requests_card
from perfscope.ui.html.step_chart import step_chart
from perfscope.ui.html.verdict_card import verdict_card
from perfscope.ui.phrases import (
    NO_WORKERS,
    UNIT_NAMES,
    describe_subject,
    mean_step_ms,
    ranks_with_budget,
    recorded_text,
    shown_p95_ms,
)
from perfscope.ui.request_phrases import request_parts
from perfscope.ui.theme import phase_category, texture

SMALLEST_SHARE = 0.002
LETTERS_OF_BAR, LETTERS_OF_PADDING = 105, 4
"""Letters that fit into the bar on a page of 1280 pixels, and into the space around a label."""


def overview(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the overview of the report."""
    steps = step_chart(trace, diagnosis)
    return header(trace, diagnosis) + answer_cards(trace, diagnosis, steps)


def answer_cards(
    trace: Trace, diagnosis: Diagnosis, steps: str = "", shown: Diagnosis | None = None
) -> str:
    """Return the overview without its header; `steps` is the card of the steps, if it is shown.

    `shown`: the diagnosis seen from the rank whose steps and budget are shown.
    """
    heat = rank_heat_card(trace, diagnosis)
    return verdict_and_budget(trace, diagnosis, shown) + steps + heat + changes_and_ranks(diagnosis)


def verdict_and_budget(trace: Trace, diagnosis: Diagnosis, shown: Diagnosis | None = None) -> str:
    """Return what limits the run, its key figures, and where the time goes."""
    shown = shown or diagnosis
    rank = shown.budget_rank if shown.budget_rank is not None else 0
    longest = {
        category: stretch
        for (stretch_rank, category), stretch in trace.fact(longest_stretch).items()
        if stretch_rank == rank
    }
    return (
        verdict_card(diagnosis, longest)
        + key_figures(shown, step_columns(trace, rank), trace.fact(request_series))
        + (requests_card(diagnosis) if request_parts(diagnosis) else "")
        + budget_card(shown, longest, predicted_bar(diagnosis) if shown is diagnosis else "")
    )


def changes_and_ranks(diagnosis: Diagnosis) -> str:
    """Return the ranks, where there are several, the requests of a server, and what to change."""
    requests = "" if request_parts(diagnosis) else requests_card(diagnosis)
    return rank_rows(diagnosis) + requests + finding_cards(diagnosis)


def header(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the first line of the report."""
    switch = (
        '<button id="theme" type="button" aria-label="switch between light and dark">light /'
        " dark</button>"
    )
    return f"<header>{subject_line(trace, diagnosis)}{switch}</header>"


def subject_line(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the recorded program, and a line with its steps, the overhead and the machine.

    The rates are key figures.
    """
    name, *machine = describe_subject(trace) or ["recording"]
    overhead = overhead_text(diagnosis)
    words = [recorded_text(diagnosis)]
    words += [] if overhead is None else [f"overhead {overhead}"]
    words += [text for text in machine if text != NO_WORKERS]
    spans = "".join(f"<span>{escape(text)}</span>" for text in words)
    tooltip = escape(", ".join(words))
    return f'<div class="subject"><b>{escape(name)}</b><div title="{tooltip}">{spans}</div></div>'


def budget_card(diagnosis: Diagnosis, longest: dict[str, StepInterval], predicted: str = "") -> str:
    """Return the time budget as a bar, and the phases of the whole run as another.

    A part of the first bar opens the timeline on the step in which it was longest. `predicted` is
    the bar after the verdict's change, which is for the rank of the verdict.
    """
    parts = [part for part in diagnosis.time_budget if part.share >= SMALLEST_SHARE]
    if not parts:
        return ""
    parts.sort(key=lambda part: -part.share)
    mean_ms, p95_ms = mean_step_ms(diagnosis), shown_p95_ms(diagnosis)
    unit = UNIT_NAMES.get(diagnosis.steps.unit, "step")
    title = f"Time per {unit}" if mean_ms is not None else "Where the recorded time goes"
    if len(ranks_with_budget(diagnosis)) > 1 and diagnosis.budget_rank is not None:
        title += f", rank {diagnosis.budget_rank}"
    measured = counted_time(diagnosis)
    if mean_ms is not None:
        measured = f"mean {ms(mean_ms * NS_PER_MS)}"
        measured += f", p95 {ms(p95_ms * NS_PER_MS)}" if p95_ms is not None else ""
    bar = "".join(bar_part(part, mean_ms, longest.get(part.category)) for part in parts)
    legend = "".join(legend_entry(part, mean_ms) for part in parts)
    core_wait = core_wait_text(diagnosis, mean_ms)
    legend += f"<span>{core_wait}</span>" if core_wait else ""
    hint = ""
    if longest:
        hint = '<span class="hint">Click a category to see where it takes longest</span>'
    return card(
        f"{title}<small>{measured}</small>",
        f'<div class="bar">{bar}</div><div class="legend">{legend}{hint}</div>'
        f"{predicted}{whole_run(diagnosis)}",
        "budget",
    )


def counted_time(diagnosis: Diagnosis) -> str:
    """Return `156 ms of the 308 ms recorded`, where a part of a trace is not in its budget."""
    seconds = counted_s(diagnosis)
    if seconds is None:
        return ""
    return f"{ms(seconds * NS_PER_S)} of the {ms(diagnosis.span_s * NS_PER_S)} recorded"


def bar_part(part: BudgetEntry, mean_ms: float | None, longest: StepInterval | None) -> str:
    """Return a part of the time budget's bar, a link where a longest step is known."""
    label = category_label(part.category)
    letters = LETTERS_OF_BAR * part.share - LETTERS_OF_PADDING
    texts = (f"{label} {part_time(part, mean_ms)}", label)
    words = next((text for text in texts if len(text) <= letters), "")
    css = f"part {texture(part.category)}"
    color = f"--c:var(--{part.category});--ink:var(--{part.category}-ink)"
    style = f"flex:{part.share:.5f};{color}"
    tooltip = escape(f"{label}: {part_amount(part, mean_ms)}. {meaning(part.category)}.")
    inside = f"<span>{escape(words)}</span>"
    if longest is None:
        return f'<div class="{css}" style="{style}" title="{tooltip}">{inside}</div>'
    place = timeline_place(longest.start_ns, longest.end_ns)
    return (
        f'<a class="{css}" style="{style}" title="{tooltip}" href="#section-timeline"'
        f" {place}>{inside}</a>"
    )


def legend_entry(part: BudgetEntry, mean_ms: float | None) -> str:
    """Return the color, label and amount of a part."""
    key = color_key(part.category)
    words = escape(f"{category_label(part.category)} {part_amount(part, mean_ms)}")
    return f'<span title="{escape(meaning(part.category))}">{key}{words}</span>'


def meaning(category: str) -> str:
    """Return what a category of the time budget holds."""
    return capitalized(CATEGORY[category].meaning)


def color_key(category: str) -> str:
    """Return a small square in the color of a category."""
    return f'<i class="{texture(category)}" style="--c:{color_variable(category)}"></i>'


def color_variable(color: str) -> str:
    """Return the CSS variable of a color of the palette."""
    return f"var(--{color.replace('_', '-')})"


def whole_run(diagnosis: Diagnosis) -> str:
    """Return the phases of the whole run as a bar with a legend.

    Nothing for a single phase, and without steps: the time budget is that of the recording then.
    """
    phases = [phase for phase in diagnosis.run_budget if phase.share >= SMALLEST_SHARE]
    if len(phases) < 2 or not diagnosis.steps.count:
        return ""
    phases.sort(key=lambda phase: -phase.share)
    bar = "".join(phase_part(phase, diagnosis) for phase in phases)
    legend = "".join(
        f"<span>{color_key(phase_category(phase.phase))}{escape(phase_amount(phase, diagnosis))}"
        "</span>"
        for phase in phases
    )
    return (
        f'<p class="note run">Whole run</p><div class="bar small">{bar}</div>'
        f'<div class="legend">{legend}</div>'
    )


def phase_part(phase: RunPhase, diagnosis: Diagnosis) -> str:
    """Return a phase of the run as a part of its bar."""
    category = phase_category(phase.phase)
    style = f"flex:{phase.share:.5f};--c:{color_variable(category)}"
    css = f"part {texture(category)}"
    title = escape(phase_amount(phase, diagnosis))
    return f'<div class="{css}" style="{style}" title="{title}"></div>'
