"""The first card of every page: what limits the run on the left, the first change on the right."""

from perfscope.analyzer.budget.longest_interval import StepInterval
from perfscope.analyzer.diagnosis import Action, Diagnosis, Finding, Speedup
from perfscope.analyzer.number_text import capitalized, plural
from perfscope.analyzer.verdict.certainty import is_uncertain
from perfscope.ui.finding_colors import color_category, neutral_color
from perfscope.ui.html.finding_cards import snippet
from perfscope.ui.html.markup import escape, paragraphs, prose, timeline_link
from perfscope.ui.phrases import (
    bound_by_text,
    confidence_text,
    predicted_speedup,
    short_headline,
    speedup_text,
    verdict_finding,
    verdict_texts,
)


def verdict_card(diagnosis: Diagnosis, longest: dict[str, StepInterval]) -> str:
    """Return the verdict, the largest text on the page, and the first recommended change.

    `longest` is the longest interval of each category of the time budget.
    """
    finding = verdict_finding(diagnosis)
    color = neutral_color() if is_uncertain(diagnosis) else color_category(diagnosis.verdict.id)
    change = "" if finding is None else change_panel(finding, diagnosis)
    headline = short_headline(diagnosis)
    return (
        f'<section class="verdict card" style="--mark:var(--{color})"><div>'
        f"<h1>{prose(headline)}</h1>{paragraphs(verdict_texts(diagnosis, headline))}"
        f'<p class="confidence">{escape(confidence_line(diagnosis))}</p>'
        f"{buttons(diagnosis, longest)}</div>{change}</section>"
    )


def confidence_line(diagnosis: Diagnosis) -> str:
    """Return the confidence of the verdict and what the run is bound by."""
    steps = diagnosis.steps.count
    confidence = f"Verdict: {confidence_text(diagnosis.verdict.confidence)}"
    confidence += f", from {plural(steps, 'step')}" if steps else ""
    return f"{confidence}. Bound by: {bound_by_text(diagnosis)}."


def buttons(diagnosis: Diagnosis, longest: dict[str, StepInterval]) -> str:
    """Return the links to the timeline and to the other changes."""
    links = show_me_link(diagnosis, longest)
    if diagnosis.findings:
        links += '<a class="button" href="#changes">All changes</a>'
    return f'<div class="links">{links}</div>' if links else ""


def show_me_link(diagnosis: Diagnosis, longest: dict[str, StepInterval]) -> str:
    """Return a button that opens the timeline where the verdict can be seen."""
    finding = verdict_finding(diagnosis)
    if finding is None:
        return ""
    places = [
        (fact.start_ns, fact.end_ns) for fact in finding.evidence if fact.start_ns is not None
    ]
    stretch = longest.get(color_category(diagnosis.verdict.id))
    if stretch is not None:
        places.append((stretch.start_ns, stretch.end_ns))
    return timeline_link(*places[0], "Show on timeline", "button main") if places else ""


def change_panel(finding: Finding, diagnosis: Diagnosis) -> str:
    """Return the first action with its code and its line, and the predicted speedup."""
    action = finding.actions[0] if finding.actions else None
    content = factor(finding.speedup)
    if action is not None:
        content += f"<h3>{prose(capitalized(action.text))}</h3>{code(action)}"
    place = finding.where
    if place is not None:
        content += f'<p class="place">hottest line: <code>{escape(place.place)}</code></p>'
    title = "Possible change" if is_uncertain(diagnosis) else "Recommended change"
    return f'<aside><div class="muted">{title}</div>{content}</aside>' if content else ""


def code(action: Action) -> str:
    """Return the code of an action with a button that copies it."""
    if not action.snippet:
        return ""
    button = '<button type="button" class="copy">Copy</button>'
    return f'<div class="code">{snippet(action)}{button}</div>'


def factor(speedup: Speedup | None) -> str:
    """Return the predicted speedup in large type, and its range as a strip with labels."""
    if speedup is None:
        return ""
    likely, _ = predicted_speedup(speedup, "×")
    likely = likely.replace("at most ", "<small>at most</small>")
    return f'<div class="factor">{likely}</div>{speedup_range(speedup)}'


def speedup_range(speedup: Speedup) -> str:
    """Return a strip from the low to the high speedup with a knob at the likely one."""
    low, likely, high = speedup.low, speedup.likely, speedup.high
    if low is None or likely is None:
        return '<div class="muted">predicted speedup; only the upper bound is known</div>'
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
