"""The top of every page: the verdict as a sentence, the predicted gain, where a step goes, what to change, what is unknown."""

from html import escape as html_escape

from perfscope.analyzer.diagnosis import Diagnosis, Evidence, Finding, Speedup
from perfscope.traces.trace import Trace
from perfscope.ui.terminal import about, amount, cost, number
from perfscope.ui.theme import LABELS, MEANINGS, WAITS

SMALLEST_SHARE = 0.002
LABELLED_SHARE = 0.09


def escape(text: str) -> str:
    """Whatever a run is called by, it is text on the page."""
    return html_escape(text, quote=True)


def overview(trace: Trace, diagnosis: Diagnosis) -> str:
    """HTML of the overview."""
    parts = (header(trace, diagnosis), verdict(diagnosis), budget(diagnosis), findings(diagnosis), unknowns(diagnosis))
    return "".join(parts)


def header(trace: Trace, diagnosis: Diagnosis) -> str:
    probe = next((one for one in diagnosis.sources if one.name == "probe"), None)
    spent = f"cost to the run {probe.overhead_share:.1%}" if probe and probe.overhead_share is not None else ""
    return (
        f"<header><b>perfscope</b><span>{escape(about(diagnosis, trace))}</span>"
        f'<span class="pill">{escape(trace.manifest.depth)}</span><span>{spent}</span>'
        '<button id="theme" type="button" aria-label="light or dark">light / dark</button></header>'
    )


def verdict(diagnosis: Diagnosis) -> str:
    """The largest thing on the page."""
    first, _, rest = diagnosis.verdict.summary.partition(". ")
    bound = diagnosis.bound_by
    share = f", {bound.share:.0%} of the time" if bound.share is not None else ""
    top = diagnosis.findings[0] if diagnosis.findings and diagnosis.findings[0].id == diagnosis.verdict.id else None
    colour = "input-wait" if diagnosis.verdict.id == "input-bound" else "host-bound"
    colour = "device-compute" if diagnosis.verdict.id == "healthy" else colour
    return (
        f'<section class="verdict card" style="--mark:var(--{colour})"><div><h1>{escape(first.rstrip("."))}.</h1>'
        f'<p>{escape(rest)}</p><p class="muted">Bound by {escape(bound.id)}{share}. '
        f"{diagnosis.verdict.confidence:.2f} confident, from {diagnosis.steps.count} steps.</p></div>"
        f"{gain(top.speedup) if top else ''}</section>"
    )


def gain(speedup: Speedup | None) -> str:
    """The predicted factor and its range, as a strip."""
    if speedup is None:
        return ""
    high = max(speedup.high, 1.0)
    end = max(2.0, high * 1.15)

    def at(factor: float) -> float:
        return 100 * (min(max(factor, 1.0), end) - 1) / (end - 1)

    if speedup.likely is None or speedup.low is None:
        return (
            f'<aside><div class="muted">Predicted without it, at most</div><div class="factor">{factor(high)}</div>'
            f'<div class="strip"><i style="left:0;width:{at(high):.1f}%"></i></div>'
            f'<div class="ends"><span>1×</span><span>{factor(end)}</span></div></aside>'
        )
    low, likely = speedup.low, speedup.likely
    return (
        f'<aside><div class="muted">Predicted without it</div><div class="factor">{factor(likely)}</div>'
        f'<div class="strip"><i style="left:{at(low):.1f}%;width:{max(at(high) - at(low), 1):.1f}%"></i>'
        f'<b style="left:{at(likely):.1f}%"></b></div>'
        f'<div class="ends"><span>1×</span><span>{factor(low)} to {factor(high)}</span><span>{factor(end)}</span></div></aside>'
    )


def factor(value: float) -> str:
    return f"{number(value)}×"


def budget(diagnosis: Diagnosis) -> str:
    """Where a step goes, as one bar."""
    parts = sorted((one for one in diagnosis.time_budget if one.share >= SMALLEST_SHARE), key=lambda one: -one.share)
    if not parts:
        return ""
    mean = diagnosis.steps.mean_ms
    bar, legend = [], []
    for one in parts:
        name, words = LABELS.get(one.category, one.category), amount(one, mean)
        css = "part wait" if one.category in WAITS else "part"
        text = f"{name} {words}" if one.share >= 0.3 else name if one.share >= LABELLED_SHARE else ""
        meaning = escape(f"{name}: {words}. {MEANINGS.get(one.category, '')}")
        mark = one.category.replace("_", "-")
        bar.append(
            f'<div class="{css}" style="flex:{one.share:.5f};--c:var(--{mark})" title="{meaning}">'
            f"<span>{escape(text)}</span></div>"
        )
        legend.append(f'<span title="{meaning}"><i style="background:var(--{mark})"></i>{escape(name)} {words}</span>')
    what = f"{number(mean)} ms a step" if mean is not None else "shares of the time"
    p95 = f", p95 {number(diagnosis.steps.p95_ms)} ms" if diagnosis.steps.p95_ms is not None else ""
    return (
        f'<section class="card"><h2>Where a step goes <small>{what}{p95}</small></h2>'
        f'<div class="bar">{"".join(bar)}</div><div class="legend">{"".join(legend)}</div></section>'
    )


def findings(diagnosis: Diagnosis) -> str:
    """What to change, by time won."""
    if not diagnosis.findings:
        nothing = "Nothing that would win a noticeable part of the time."
        return f'<section class="card"><h2>What to change</h2><p>{nothing}</p></section>'
    rows = "".join(finding(one, diagnosis) for one in diagnosis.findings)
    return f'<section class="card"><h2>What to change, by time won</h2>{rows}</section>'


def finding(one: Finding, diagnosis: Diagnosis) -> str:
    name = one.id if one.cause is None else f"{one.id} / {one.cause}"
    snippets = [f"<pre>{escape(action.snippet)}</pre>" if action.snippet else "" for action in one.actions]
    told = zip(one.actions, snippets, strict=True)
    actions = "".join(f"<li>{escape(action.text)}{snippet}</li>" for action, snippet in told)
    proof = "".join(f"<li>{escape(fact.text)}{show_me(fact)}</li>" for fact in one.evidence)
    won = (
        ""
        if one.speedup is None
        else factor(one.speedup.likely if one.speedup.likely is not None else one.speedup.high)
    )
    most = "at most " if one.speedup is not None and one.speedup.likely is None else ""
    return (
        f'<article class="finding"><div class="costs">{escape(cost(one, diagnosis)) or "no time yet"}</div>'
        f"<div><h3>{escape(name)}</h3><p>{escape(one.summary)}</p><ol>{actions}</ol>"
        f'<details open><summary>Evidence</summary><ul class="proof">{proof}</ul></details></div>'
        f'<div class="won">{most}<b>{won}</b></div></article>'
    )


def show_me(fact: Evidence) -> str:
    """The door to the interval on the timeline that proves it."""
    if fact.start_ns is None or fact.end_ns is None:
        return ""
    return f' <a href="#section-workers" data-from="{fact.start_ns / 1e9:.6f}" data-to="{fact.end_ns / 1e9:.6f}">show me</a>'


def unknowns(diagnosis: Diagnosis) -> str:
    """What was looked for and not there, what could not be measured and why, what the sources cost."""
    clear = ", ".join(diagnosis.clear)
    rows = [(one.id, one.reason) for one in diagnosis.not_applicable]
    rows += [(one.id, f"the rule broke: {one.error}") for one in diagnosis.failed]
    rows += [(one.name, f"{one.status}: {one.reason}") for one in diagnosis.sources if one.status != "ok"]
    rows += [("dropped", text) for text in diagnosis.dropped]
    table = "".join(f"<tr><th>{escape(name)}</th><td>{escape(reason or '')}</td></tr>" for name, reason in rows)
    spent = "".join(
        f"<tr><th>{escape(one.name)}</th><td>{one.overhead_share:.2%}</td></tr>"
        for one in diagnosis.sources
        if one.overhead_share is not None
    )
    return (
        '<div class="pair"><section class="card"><h2>Not measured, and why</h2>'
        f"<table>{table or '<tr><td>Everything was measured.</td></tr>'}</table></section>"
        f'<section class="card"><h2>Looked for and not there</h2><p>{escape(clear) or "nothing"}</p>'
        f"<h2>What looking cost, of one core</h2><table>{spent}</table></section></div>"
    )
