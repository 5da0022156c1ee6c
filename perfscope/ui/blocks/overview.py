"""The top of every page: the verdict as a sentence, the predicted gain, where a step goes, what to
change, what is unknown.
"""

from perfscope.analyzer.budget.longest_interval import StepInterval, longest_stretch
from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, Speedup
from perfscope.analyzer.number_text import digits, ms
from perfscope.traces.trace import Trace
from perfscope.ui.blocks.finding_cards import findings
from perfscope.ui.blocks.markup import door, escape, prose
from perfscope.ui.blocks.rank_rows import rank_rows
from perfscope.ui.marks import mark_of
from perfscope.ui.phrases import (
    amount,
    bound_by,
    factor,
    gain,
    label,
    overhead,
    step_ms,
    subject,
    time_of,
)
from perfscope.ui.theme import texture

SMALLEST_SHARE = 0.002
FULL_LABEL_SHARE, LABEL_SHARE = 0.2, 0.11
NS_PER_MS = 1e6


def overview(trace: Trace, diagnosis: Diagnosis, budget_chart: str = "") -> str:
    """HTML of the overview; `budget_chart` stands under the bar. What was not measured is a part of
    its own, `unknowns`.
    """
    return header(trace, diagnosis) + the_answer(trace, diagnosis, budget_chart)


def the_answer(trace: Trace, diagnosis: Diagnosis, budget_chart: str = "") -> str:
    """The overview without the line that says who was looked at."""
    return verdict_and_budget(trace, diagnosis, budget_chart) + changes_and_ranks(diagnosis)


def verdict_and_budget(trace: Trace, diagnosis: Diagnosis, budget_chart: str = "") -> str:
    """What bounds it, and where a step goes."""
    longest = trace.fact(longest_stretch)
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    own = {category: stretch for (of, category), stretch in longest.items() if of == rank}
    return verdict(diagnosis, own) + budget(diagnosis, own, budget_chart)


def changes_and_ranks(diagnosis: Diagnosis) -> str:
    """What to change, below the ranks beside each other where there are several."""
    return rank_rows(diagnosis) + findings(diagnosis)


def header(trace: Trace, diagnosis: Diagnosis) -> str:
    """The first line of the report."""
    switch = (
        '<button id="theme" type="button" aria-label="switch between light and dark">light /'
        " dark</button>"
    )
    return f"<header>{who(trace, diagnosis)}{switch}</header>"


def who(trace: Trace, diagnosis: Diagnosis) -> str:
    """Who was looked at, how deep, at what cost."""
    name, *rest = [*subject(trace), f"{digits(diagnosis.span_s)} s recorded"]
    cost = overhead(diagnosis)
    rest += [] if cost is None else [f"overhead {cost}"]
    words = "".join(f"<span>{escape(one)}</span>" for one in rest)
    return (
        f"<div><b>{escape(name)}</b>{words}<span"
        f' class="pill">{escape(trace.manifest.depth)}</span></div>'
    )


def verdict(diagnosis: Diagnosis, stretches: dict[str, StepInterval]) -> str:
    """The largest thing on the page."""
    rest = " ".join(filter(None, [diagnosis.verdict.explanation, diagnosis.verdict.caveat]))
    top = (
        diagnosis.findings[0]
        if diagnosis.findings and diagnosis.findings[0].id == diagnosis.verdict.id
        else None
    )
    sure = (
        f"{bound_by(diagnosis)}; {diagnosis.verdict.confidence:.2f} confident, from"
        f" {diagnosis.steps.count} steps"
    )
    places = (
        [(one.start_ns, one.end_ns) for one in top.evidence if one.start_ns is not None]
        if top is not None
        else []
    )
    longest = stretches.get(mark_of(diagnosis.verdict.id)) if top is not None else None
    places += [(longest.start_ns, longest.end_ns)] if longest is not None else []
    doors = door(*places[0], "Show me", "button main") if places else ""
    doors += '<a class="button" href="#changes">What to change</a>' if diagnosis.findings else ""
    return (
        f'<section class="verdict card" style="--mark:var(--{mark_of(diagnosis.verdict.id)})"><div>'
        f"<h1>{prose(diagnosis.verdict.headline)}</h1>{f'<p>{prose(rest)}</p>' if rest else ''}"
        f'<p class="sure">{escape(sure[0].upper() + sure[1:])}</p>'
        f'{f"""<div class="doors">{doors}</div>""" if doors else ""}</div>'
        f"{predicted(top.speedup) if top is not None else ''}</section>"
    )


def predicted(speedup: Speedup | None) -> str:
    """The predicted factor, large, and its range on a scale from 1."""
    if speedup is None:
        return ""
    end = max(1.2, 1 + (speedup.high - 1) * 1.25)

    def at(value: float) -> float:
        return 100 * (min(max(value, 1.0), end) - 1) / (end - 1)

    likely, span = gain(speedup, "×")
    likely = likely.replace("at most ", "<small>at most</small>")
    begin = 1.0 if speedup.low is None else speedup.low
    knob = "" if speedup.likely is None else f'<b style="left:{at(speedup.likely):.1f}%"></b>'
    width = max(at(speedup.high) - at(begin), 1.0)
    words = f"between {span.replace(' to ', ' and ')}" if span else "the most there is to win"
    return (
        '<aside><div class="muted">Predicted speed without it</div><div'
        f' class="factor">{likely}</div><div class="strip"><i'
        f' style="left:{at(begin):.1f}%;width:{width:.1f}%"></i>{knob}</div><div'
        f' class="ends"><span>1×</span><span>{factor(end)}×</span></div><div'
        f' class="muted">{words}</div></aside>'
    )


def budget(diagnosis: Diagnosis, stretches: dict[str, StepInterval], chart: str) -> str:
    """Where a step goes, as one bar; a part opens the timeline on the step where it was longest."""
    parts = sorted(
        (one for one in diagnosis.time_budget if one.share >= SMALLEST_SHARE),
        key=lambda one: -one.share,
    )
    if not parts:
        return ""
    mean_ms, p95_ms = step_ms(diagnosis), diagnosis.steps.p95_ms
    what = f"{ms(mean_ms * NS_PER_MS)} a step" if mean_ms is not None else "shares of the time"
    what += f", p95 {ms(p95_ms * NS_PER_MS)}" if p95_ms is not None else ""
    bar = "".join(bar_part(one, mean_ms, stretches.get(one.category)) for one in parts)
    legend = "".join(legend_entry(one, mean_ms) for one in parts)
    hint = (
        '<span class="hint">click a part: the timeline opens where it was longest</span>'
        if stretches
        else ""
    )
    return (
        "<section"
        f' class="card"><h2>{"Where a step goes" if mean_ms is not None else "Where the time goes"}<small>{what}</small></h2><div'  # noqa: E501
        f' class="bar">{bar}</div><div class="legend">{legend}{hint}</div>{chart}</section>'
    )


def bar_part(part: BudgetEntry, mean_ms: float | None, longest: StepInterval | None) -> str:
    mark = part.category
    full = f"{label(part.category)} {time_of(part, mean_ms)}"
    words = (
        full
        if part.share >= FULL_LABEL_SHARE
        else label(part.category)
        if part.share >= LABEL_SHARE
        else ""
    )
    css = f"part {texture(part.category)}"
    style = f"flex:{part.share:.5f};--c:var(--{mark});--ink:var(--{mark}-ink)"
    about_it = escape(
        f"{label(part.category)}: {amount(part, mean_ms)}. {CATEGORY[part.category].meaning}"
    )
    inside = f"<span>{escape(words)}</span>"
    if longest is None:
        return f'<div class="{css}" style="{style}" title="{about_it}">{inside}</div>'
    place = f'data-from="{longest.start_ns / 1e9:.6f}" data-to="{longest.end_ns / 1e9:.6f}"'
    return (
        f'<a class="{css}" style="{style}" title="{about_it}" href="#section-timeline"'
        f" {place}>{inside}</a>"
    )


def legend_entry(part: BudgetEntry, mean_ms: float | None) -> str:
    mark = part.category
    css = f' class="{texture(part.category)}"'
    return (
        f'<span title="{escape(CATEGORY[part.category].meaning)}"><i{css}'
        f' style="--c:var(--{mark})"></i>{escape(label(part.category))}'
        f" {amount(part, mean_ms)}</span>"
    )
