"""The first card of every page: what limits the run on the left, the first change on the right."""

from perfscope.analyzer.budget.longest_interval import StepInterval
from perfscope.analyzer.diagnosis import Action, CodeLocation, Diagnosis, Finding
from perfscope.analyzer.number_text import as_clause, capitalized, percent, plural
from perfscope.analyzer.verdict.certainty import is_uncertain
from perfscope.analyzer.verdict.predicted_budget import predicted_budget, speedup_without_cost
from perfscope.ui.finding_colors import color_category, neutral_color
from perfscope.ui.html.finding_cards import snippet
from perfscope.ui.html.markup import (
    escape,
    paragraphs,
    prose,
    timeline_link,
    with_kept_units,
)
from perfscope.ui.phrases import (
    UNIT_NAMES,
    bound_by_text,
    confidence_text,
    names_other_resource,
    predicted_speedup,
    short_headline,
    speedup_text,
    verdict_finding,
    verdict_texts,
)

UNKNOWN = "unknown"


def verdict_card(diagnosis: Diagnosis, longest: dict[str, StepInterval]) -> str:
    """Return the card with the verdict, in the largest text of the page, and the first change.

    `longest` is the longest interval of each category of the time budget.
    """
    finding = verdict_finding(diagnosis)
    color = neutral_color() if is_uncertain(diagnosis) else color_category(diagnosis.verdict.id)
    change = "" if finding is None else change_panel(finding, diagnosis)
    headline = short_headline(diagnosis)
    # The panel of the change names the line.
    texts = verdict_texts(diagnosis, headline, has_place=not change)
    return (
        f'<section class="verdict card{"" if change else " alone"}"'
        f' style="--mark:var(--{color})"><div>'
        f"<h1>{prose(headline)}</h1>{paragraphs(texts)}"
        f'<p class="confidence">{prose(confidence_line(diagnosis))}</p>'
        f"{buttons(diagnosis, longest)}</div>{change}</section>"
    )


def confidence_line(diagnosis: Diagnosis) -> str:
    """Return the confidence of the verdict, what it is from, and what the run is bound by.

    The confidence of `bound_by` is not shown: it would be a second one. Nor is a resource that is
    not the verdict's: the time budget has its share.
    """
    confidence = diagnosis.verdict.confidence
    # A general answer has no confidence.
    words = [f"Verdict: {confidence_text(confidence)}"] if confidence else []
    words += evidence_count(diagnosis)
    sentences = [capitalized(", ".join(words))] if words else []
    if diagnosis.bound_by.id != UNKNOWN and not names_other_resource(diagnosis):
        sentences.append(f"Bound by: {bound_by_text(diagnosis, has_confidence=False)}")
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def evidence_count(diagnosis: Diagnosis) -> list[str]:
    """Return `from 292 steps`, or `from 2,029 requests` for a verdict on requests."""
    requests, steps = diagnosis.requests, diagnosis.steps
    if diagnosis.verdict.scope == "requests" and requests is not None and requests.count:
        return [f"from {plural(requests.count, 'request')}"]
    unit = UNIT_NAMES.get(steps.unit, "step")
    return [f"from {plural(steps.count, unit)}"] if steps.count else []


def buttons(diagnosis: Diagnosis, longest: dict[str, StepInterval]) -> str:
    """Return the links to the timeline and to the other changes."""
    links = timeline_button(diagnosis, longest)
    if diagnosis.findings:
        links += '<a class="button" href="#changes">All changes</a>'
    return f'<div class="links">{links}</div>' if links else ""


def timeline_button(diagnosis: Diagnosis, longest: dict[str, StepInterval]) -> str:
    """Return a button that opens the timeline where the verdict can be seen."""
    finding = verdict_finding(diagnosis)
    if finding is None:
        return ""
    intervals = [
        (fact.start_ns, fact.end_ns) for fact in finding.evidence if fact.start_ns is not None
    ]
    longest_interval = longest.get(color_category(diagnosis.verdict.id))
    if longest_interval is not None:
        intervals.append((longest_interval.start_ns, longest_interval.end_ns))
    return timeline_link(*intervals[0], "Show on timeline", "button main") if intervals else ""


def change_panel(finding: Finding, diagnosis: Diagnosis) -> str:
    """Return the first action with its code and its line, and the predicted speedup."""
    action = finding.actions[0] if finding.actions else None
    content = ""
    if action is not None:
        content += f"<h3>{prose(capitalized(action.text))}</h3>{code(action)}"
    content += speedup_panel(finding, diagnosis)
    if finding.where is not None:
        content += f'<p class="place">{hottest_line_text(finding, finding.where)}</p>'
    title = "Recommended change"
    if is_uncertain(diagnosis):  # its headline does not name the finding
        title = f"Possible change ({as_clause(finding.headline.partition(':')[0])})"
    title = title if action is not None else "Where"
    return f'<aside><div class="muted">{escape(title)}</div>{content}</aside>' if content else ""


def hottest_line_text(finding: Finding, where: CodeLocation) -> str:
    """Return the hottest line with its share of the stack samples, as markup.

    The share is left out where the headline names the line, and where every sample is there.
    """
    name = "hottest line: " if finding.actions else ""
    place = f"{name}<code>{escape(where.place)}</code>"
    if where.place in finding.headline or where.share.low >= 1.0:
        return place
    low, high = (percent(share) for share in (where.share.low, where.share.high))
    share = f"{percent(where.share.likely)} of the stack samples ({low} to {high})"
    return f"{place}, {with_kept_units(share)}"


def code(action: Action) -> str:
    """Return the code of an action with a button that copies it."""
    if not action.snippet:
        return ""
    button = '<button type="button" class="copy">Copy</button>'
    return f'<div class="code">{snippet(action)}{button}</div>'


def speedup_panel(finding: Finding, diagnosis: Diagnosis) -> str:
    """Return the predicted speedup in large type, and its range as a strip with labels."""
    speedup = finding.speedup
    if speedup is None:
        return ""
    shown, _ = predicted_speedup(speedup, "×")
    shown = shown.replace("at most ", "<small>at most</small>")
    low, likely = speedup.low, speedup.likely
    if low is None or likely is None:
        below = f'<div class="muted">{escape(upper_bound_text(finding, diagnosis))}</div>'
    else:
        below = speedup_range(low, likely, speedup.high)
    return f'<div class="factor">{shown}</div>{below}'


def upper_bound_text(finding: Finding, diagnosis: Diagnosis) -> str:
    """Return that only the upper bound is known, and what saving the cost alone would give."""
    at_cost = speedup_without_cost(finding, predicted_budget(diagnosis, finding))
    if at_cost is None:
        return "upper bound of the speedup; the likely one is not known"
    cost = percent(finding.share)
    return f"upper bound of the speedup; {speedup_text(at_cost)}× if only the {cost} is saved"


def speedup_range(low: float, likely: float, high: float) -> str:
    """Return a strip from the low to the high speedup with a knob at the likely one."""
    position = 100 * (likely - low) / max(high - low, 1e-9)
    texts = {
        "low": speedup_text(low, high),
        "likely": speedup_text(likely),
        "high": speedup_text(high),
    }
    labels = "".join(f"<span>{name} {text}×</span>" for name, text in texts.items())
    return (
        '<div class="muted">predicted speedup</div>'
        f'<div class="strip"><b style="left:{min(max(position, 0), 100):.1f}%"></b></div>'
        f'<div class="ends">{labels}</div>'
    )
