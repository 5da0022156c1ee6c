"""The diagnosis in a terminal: the sentence first, then where a step goes, what to change, and what was not seen."""

import textwrap
from typing import TextIO

from rich.console import Console
from rich.text import Text

from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, Finding, Speedup
from perfscope.traces.trace import Trace
from perfscope.ui.theme import DARK, LABELS, WAITS

WIDEST, NARROWEST = 110, 60
BAR_CELLS = 60
SMALLEST_SHARE = 0.005


def show(diagnosis: Diagnosis, trace: Trace | None, stream: TextIO) -> None:
    """Print it: with colour on a terminal, the same words without elsewhere."""
    console = Console(file=stream, highlight=False, soft_wrap=True, emoji=False, markup=False)
    width = max(NARROWEST, min(console.width if stream.isatty() else 100, WIDEST))
    for part in (
        headline(diagnosis, trace, width),
        budget(diagnosis, width),
        changes(diagnosis, width),
        closing(diagnosis, width),
    ):
        for line in part:
            console.print(line)


def wrapped(text: str, width: int, indent: str = "", first: str | None = None) -> list[Text]:
    """Lines of at most `width` columns."""
    begin = indent if first is None else first
    return [Text(line) for line in textwrap.wrap(text, width, initial_indent=begin, subsequent_indent=indent)]


def headline(diagnosis: Diagnosis, trace: Trace | None, width: int) -> list[Text]:
    """Who was looked at, and the verdict as a sentence."""
    lines = [Text(""), Text(about(diagnosis, trace), style="bright_black"), Text("")]
    style = "bold green" if diagnosis.verdict.id == "healthy" else "bold yellow"
    for line in wrapped(diagnosis.verdict.summary, width):
        line.stylize(style)
        lines.append(line)
    lines.append(Text(sure(diagnosis), style="bright_black"))
    return [*lines, Text("")]


def about(diagnosis: Diagnosis, trace: Trace | None) -> str:
    steps = diagnosis.steps
    words = [f"{diagnosis.span_s:.1f} s"]
    if steps.mean_ms is not None and steps.p95_ms is not None:
        words.append(f"{steps.count} steps, {number(steps.mean_ms)} ms each (p95 {number(steps.p95_ms)})")
    if trace is not None and trace.table("processes") is not None:
        processes = trace.table("processes")
        assert processes is not None
        main = processes[processes["role"] == "main"]
        workers = int((processes["role"] == "loader-worker").sum())
        name = str(main["name"].iloc[0]) if len(main) else "?"
        who = f"{name} (pid {int(main['pid'].iloc[0])})" if len(main) else name
        words.insert(0, who if len(main) < 2 else f"{name} ({len(main)} ranks)")
        words.insert(1, f"{workers} loader worker{'s' if workers != 1 else ''}")
        cores = trace.manifest.usable_cores
        if cores is not None:
            words.insert(2, f"{cores.cores:g} usable cores")
    return ", ".join(words)


def sure(diagnosis: Diagnosis) -> str:
    bound = diagnosis.bound_by
    share = f" {bound.share:.0%} of the time" if bound.share is not None else ""
    return f"bound by {bound.id}{share}; sure: {diagnosis.verdict.confidence:.2f}"


def number(value: float) -> str:
    """Three digits, no more: 0.123, 1.23, 12.3, 123."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def budget(diagnosis: Diagnosis, width: int) -> list[Text]:
    """One bar and its legend."""
    parts = [one for one in diagnosis.time_budget if one.share >= SMALLEST_SHARE]
    if not parts:
        return []
    parts.sort(key=lambda one: -one.share)
    mean = diagnosis.steps.mean_ms
    bar = Text("  a step  " if mean is not None else "  time    ")
    cells = width - 14
    for part, size in zip(parts, shared_out(parts, cells), strict=True):
        label = f" {LABELS.get(part.category, part.category)} "
        fill = "▒" if part.category in WAITS else "█"
        text = (label + fill * max(0, size - len(label))) if size > len(label) + 1 else fill * size
        bar.append(
            text,
            style=f"{'black' if size > len(label) + 1 else DARK.category[part.category]} on {DARK.category[part.category]}",
        )
    legend = "   ".join(f"{LABELS.get(one.category, one.category)} {amount(one, mean)}" for one in parts)
    return [bar, *wrapped(legend, width, " " * 10), Text("")]


def amount(part: BudgetEntry, mean_ms: float | None) -> str:
    share = f"{part.share:.0%}" if part.share >= 0.01 else f"{part.share:.1%}"
    return f"{number(part.share * mean_ms)} ms ({share})" if mean_ms is not None else share


def shared_out(parts: list[BudgetEntry], cells: int) -> list[int]:
    """Whole cells for each part, at least one, together `cells`."""
    sizes = [max(1, round(one.share * cells)) for one in parts]
    sizes[0] += cells - sum(sizes)
    return sizes


def changes(diagnosis: Diagnosis, width: int) -> list[Text]:
    """What to change, by time won."""
    if not diagnosis.findings:
        return []
    lines = [Text("  what to change, by time won", style="bold")]
    for rank, finding in enumerate(diagnosis.findings, 1):
        lines += change(rank, finding, diagnosis, width)
    return [*lines, Text("")]


def change(rank: int, finding: Finding, diagnosis: Diagnosis, width: int) -> list[Text]:
    name = finding.id if finding.cause is None else f"{finding.id}/{finding.cause}"
    costs = cost(finding, diagnosis)
    head = Text(f"  {rank} ")
    head.append(name, style="bold")
    head.append("   ".join(["", costs, gain(finding.speedup)]) if costs else f"   {gain(finding.speedup)}")
    lines = [head, *wrapped(finding.summary, width, "      ")]
    for action in finding.actions:
        lines += wrapped(action.text, width, "        ", "      - ")
        if action.snippet:
            lines += [Text(f"          {line}", style="cyan") for line in action.snippet.splitlines()]
    for evidence in finding.evidence:
        lines += [
            Text(line.plain, style="bright_black") for line in wrapped(evidence.text, width, "          ", "        ")
        ]
    return lines


def cost(finding: Finding, diagnosis: Diagnosis) -> str:
    if finding.lost_s <= 0:
        return ""
    mean = diagnosis.steps.mean_ms
    each = f"{number(finding.share * mean)} ms a step" if mean is not None else f"{finding.lost_s:.1f} s"
    return f"costs {each} ({finding.share:.0%})"


def gain(speedup: Speedup | None) -> str:
    if speedup is None:
        return ""
    if speedup.likely is None or speedup.low is None:
        return f"at most {speedup.high:.2f}x faster without it"
    return f"{speedup.likely:.2f}x faster without it ({speedup.low:.2f}x to {speedup.high:.2f}x)"


def closing(diagnosis: Diagnosis, width: int) -> list[Text]:
    """What was looked for and not found, what could not be measured, what it cost, and the way on."""
    lines: list[Text] = []
    if diagnosis.clear:
        lines += wrapped("looked for and not there: " + ", ".join(diagnosis.clear), width, "    ", "  ")
    for missing in diagnosis.not_applicable:
        lines += wrapped(f"not measured: {missing.id} ({missing.reason})", width, "    ", "  ")
    for source in diagnosis.sources:
        if source.status != "ok" and source.reason:
            lines += wrapped(f"{source.name} {source.status}: {source.reason}", width, "    ", "  ")
    for failed in diagnosis.failed:
        lines += wrapped(f"rule {failed.id} broke: {failed.error}", width, "    ", "  ")
    lines += [Text(f"  dropped: {one}") for one in diagnosis.dropped]
    probe = next((one for one in diagnosis.sources if one.name == "probe"), None)
    if probe is not None and probe.overhead_share is not None:
        lines.append(Text(f"  cost to the run: {probe.overhead_share:.1%}; nothing stays behind"))
    if diagnosis.run is not None:
        lines += [
            Text(""),
            Text(f"  run   {diagnosis.run}"),
            Text(f"  next  perfscope report {diagnosis.run} -o report.html"),
        ]
    if diagnosis.findings:
        lines.append(Text(f"        perfscope explain {diagnosis.findings[0].id}"))
    return lines
