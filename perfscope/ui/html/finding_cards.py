"""What to change, by time won: a row a finding."""

from perfscope.analyzer.diagnosis import Action, Diagnosis, Finding
from perfscope.analyzer.number_text import percent
from perfscope.ui.html.markup import door, escape, prose
from perfscope.ui.marks import mark_of
from perfscope.ui.phrases import claims, cost, gain, name_of, title


def findings(diagnosis: Diagnosis) -> str:
    """What to change, by time won."""
    if not diagnosis.findings:
        nothing = "Nothing was found that would win a noticeable part of the time."
        return f'<section class="card"><h2>What to change</h2><p>{nothing}</p></section>'
    rows = "".join(finding(one, diagnosis) for one in diagnosis.findings)
    return (
        f'<section class="card" id="changes"><h2>What to change, by time won</h2>{rows}</section>'
    )


def finding(one: Finding, diagnosis: Diagnosis) -> str:
    """Cost, what to do and why, gain; the other ways and the evidence below."""
    now, share = cost(one, diagnosis)
    likely, span = gain(one.speedup, "×")
    told = claims(one, diagnosis)
    snippet = "".join(code(way) for way in one.actions[:1])
    ways = "".join(f"<li>{prose(way.text)}{code(way)}</li>" for way in one.actions[1:])
    proof = "".join(
        f"<li>{prose(fact.text)} {door(fact.start_ns, fact.end_ns, 'show me')}</li>"
        for fact in one.evidence
    )
    mark = mark_of(one.id)
    return (
        f'<article class="finding" style="--mark:var(--{mark})"><div'
        f' class="costs"><b>{now}</b>{share}</div>'
        f"<div><h3>{prose(capital(title(one)))}</h3>{''.join(f'<p>{prose(text)}</p>' for text in told)}{snippet}"  # noqa: E501
        f'<div class="lost" title="{percent(one.share)} of the time"><i'
        f' style="width:{100 * min(one.share, 1):.1f}%"></i></div>'
        f'{f"<ul>{ways}</ul>" if ways else ""}<p class="id">{escape(name_of(one))}</p>'
        f'<ul class="proof">{proof}</ul></div><div'
        f' class="won"><b>{likely}</b>{span}</div></article>'
    )


def code(way: Action) -> str:
    return f"<pre>{escape(way.snippet)}</pre>" if way.snippet else ""


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
