"""The recommended changes: a row per finding, the verdict's first, then by time saved."""

import re

from perfscope.analyzer.diagnosis import Action, Diagnosis, Evidence, Finding
from perfscope.analyzer.number_text import capitalized
from perfscope.analyzer.verdict.certainty import is_uncertain
from perfscope.ui.finding_colors import color_category
from perfscope.ui.html.markup import card, escape, paragraphs, prose, timeline_link
from perfscope.ui.phrases import (
    claims,
    current_cost,
    finding_name,
    ordered_findings,
    predicted_speedup,
    recommended_change,
)
from perfscope.ui.request_phrases import prediction_texts

HYPHENATED = re.compile(r"[^\s(,]*\w-\w\S*")
NOTHING = "<p>No change would save a noticeable amount of time.</p>"
CAUSE_UNKNOWN = "<p>No change is recommended, because the cause is not known.</p>"


def finding_cards(diagnosis: Diagnosis) -> str:
    """Return the card of recommended changes."""
    if not diagnosis.findings:
        is_healthy = diagnosis.verdict.kind == "healthy"
        return card("Recommended changes", NOTHING if is_healthy else CAUSE_UNKNOWN)
    rows = "".join(finding_row(finding, diagnosis) for finding in ordered_findings(diagnosis))
    title = "Possible changes" if is_uncertain(diagnosis) else "Recommended changes"
    title = title if any(finding.actions for finding in diagnosis.findings) else "Findings"
    return card(title, rows, "changes")


def finding_row(finding: Finding, diagnosis: Diagnosis) -> str:
    """Return cost, change and predicted speedup; below them the other actions and the evidence."""
    cost, share = current_cost(finding, diagnosis)
    share = share.removeprefix(cost).strip()
    likely, interval = predicted_speedup(finding.speedup, "×")
    mark = color_category(finding.id)
    return (
        f'<article class="finding" style="--mark:var(--{mark})">'
        f'<div class="costs"><b>{cost}</b>{share}</div>'
        f"<div><h3>{prose(recommended_change(finding))}</h3>"
        f"{paragraphs(claims(finding, diagnosis))}"
        f"{''.join(snippet(action) + predictions(action) for action in finding.actions[:1])}"
        f"{other_actions(finding)}"
        f'<p class="id">{escape(finding_name(finding))}</p>{evidence_list(finding.evidence)}</div>'
        f'<div class="gain"><b>{likely}</b>{interval}</div></article>'
    )


def other_actions(finding: Finding) -> str:
    """Return the actions after the first as a list."""
    actions = finding.actions[1:]
    items = "".join(
        f"<li>{prose(capitalized(action.text))}{snippet(action)}</li>" for action in actions
    )
    return f"<ul>{items}</ul>" if items else ""


def evidence_list(evidence: list[Evidence]) -> str:
    """Return the evidence, each fact with a link to its place on the timeline."""
    items = [
        f"<li>{prose(fact.text)} {timeline_link(fact.start_ns, fact.end_ns, 'show')}</li>"
        for fact in evidence
    ]
    return f'<ul class="proof">{"".join(items)}</ul>' if items else ""


def predictions(action: Action) -> str:
    """Return the latencies that an action is predicted to have."""
    items = "".join(f"<li>{escape(text)}</li>" for text in prediction_texts(action))
    return f"<ul>{items}</ul>" if items else ""


def snippet(action: Action) -> str:
    """Return the code of an action, whose words with a hyphen are not broken."""
    if not action.snippet:
        return ""
    code = HYPHENATED.sub(r"<span>\g<0></span>", escape(action.snippet))
    return f"<pre>{code}</pre>"
