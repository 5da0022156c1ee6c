"""What only `--verbose` prints: all evidence, the slowest steps, and every reason."""

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis, Finding, SlowStep
from perfscope.analyzer.number_text import megabytes, ms, percent
from perfscope.ui.budget_phrases import NS_PER_MS, NS_PER_S, category_label
from perfscope.ui.coverage import not_measured
from perfscope.ui.phrases import claims, current_cost, finding_name, ordered_findings, unknown_rates
from perfscope.ui.terminal.changes_table import code_lines
from perfscope.ui.terminal.layout import MUTED, TerminalLayout, wrapped

TEXT_INDENT, ITEM_INDENT = 4, 6


def detail_lines(diagnosis: Diagnosis, layout: TerminalLayout) -> list[Text]:
    """Return everything that the screen of 40 lines leaves out."""
    lines: list[Text] = []
    for number, finding in enumerate(ordered_findings(diagnosis), 1):
        lines += finding_lines(number, finding, diagnosis, layout)
    slowest = [slow_step_text(step) for step in diagnosis.steps.slowest]
    unknown = [f"{name}: {reason}" for name, reason in unknown_rates(diagnosis)]
    reasons = [f"{what}: {why}" for what, why in not_measured(diagnosis)]
    lines += section("slowest steps", slowest, layout)
    lines += section("unknown rates", unknown, layout)
    lines += section("memory", memory_texts(diagnosis), layout)
    lines += section("checked, not found", [", ".join(diagnosis.clear)], layout)
    lines += section("not checked, and why", reasons, layout)
    return lines + section("overhead", overhead_part_texts(diagnosis), layout)


def finding_lines(
    number: int, finding: Finding, diagnosis: Diagnosis, layout: TerminalLayout
) -> list[Text]:
    """Return what a finding claims, its evidence, its other actions, and its documentation."""
    lines = [Text(f"  {number} {finding_name(finding)}", style="bold")]
    cost, share = current_cost(finding, diagnosis)
    if share:
        run_share = f"{percent(finding.share_of_run)} of the run"
        lines += paragraph(f"costs {cost}: {share}, {run_share}", layout)
    for text in claims(finding, diagnosis):
        lines += paragraph(text, layout)
    for fact in finding.evidence:
        lines += item(fact.text, layout)
    for action in finding.actions[1:]:
        lines += item(f"another change: {action.text}", layout)
        lines += code_lines(action.snippet, layout, ITEM_INDENT + 2)
    explain = f"{' ' * TEXT_INDENT}perfscope explain {finding_name(finding)}"
    return [*lines, Text(explain, style=MUTED), Text("")]


def section(title: str, texts: list[str], layout: TerminalLayout) -> list[Text]:
    """Return a titled list; nothing where it is empty."""
    shown = [text for text in texts if text]
    if not shown:
        return []
    lines = [Text(f"  {title}", style="bold")]
    for text in shown:
        lines += item(text, layout)
    return [*lines, Text("")]


def paragraph(text: str, layout: TerminalLayout) -> list[Text]:
    """Return an indented paragraph."""
    margin = " " * TEXT_INDENT
    return [Text(line) for line in wrapped(text, layout.width, margin, margin)]


def item(text: str, layout: TerminalLayout) -> list[Text]:
    """Return an item of a list."""
    first, rest = " " * TEXT_INDENT + "- ", " " * ITEM_INDENT
    return [Text(line) for line in wrapped(text, layout.width, first, rest)]


def slow_step_text(step: SlowStep) -> str:
    """Return `step 47, at 4.03 s: 105 ms, mostly more compute`."""
    cause = f", mostly more {category_label(step.category)}" if step.category is not None else ""
    return (
        f"step {step.index}, at {step.start_ns / NS_PER_S:.2f} s: {ms(step.ms * NS_PER_MS)}{cause}"
    )


def memory_texts(diagnosis: Diagnosis) -> list[str]:
    """Return the peak memory of the host and of each device."""
    texts = []
    for use in diagnosis.memory:
        where = "host" if use.device is None else f"device {use.device}"
        limit = f" of {megabytes(use.limit_bytes)}" if use.limit_bytes is not None else ""
        texts.append(f"{where}: peak {megabytes(use.peak_bytes)}{limit}")
    return texts


def overhead_part_texts(diagnosis: Diagnosis) -> list[str]:
    """Return the time that each part of the recording cost."""
    if diagnosis.overhead is None:
        return []
    return [
        f"{part.name}: {ms(max(part.seconds, 0.0) * NS_PER_S)}" for part in diagnosis.overhead.parts
    ]
