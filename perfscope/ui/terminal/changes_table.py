"""The table of recommended changes, with their cost, predicted speedup and evidence."""

import textwrap
from itertools import zip_longest

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.analyzer.number_text import capitalized
from perfscope.ui.phrases import (
    current_cost,
    ordered_findings,
    predicted_speedup,
    recommended_change,
)
from perfscope.ui.request_phrases import prediction_texts
from perfscope.ui.terminal.layout import MUTED, TerminalLayout, wrapped

MARGIN, GAP = 2, 2
COST_CELLS, SPEEDUP_CELLS = 14, 21
CHANGE_SHARE = 0.54
"""The part of the remaining width that the first column has; the rest is for evidence."""
NARROW = 92
"""Below this width the evidence is under the row instead of in a column."""
HEADS = ("recommended change", "current cost", "predicted speedup", "evidence")
SNIPPET_STYLE = "cyan"


def changes_table(diagnosis: Diagnosis, layout: TerminalLayout, height: int) -> list[Text]:
    """Return the table in at most `height` lines; nothing without findings.

    The first change is shown in any case. A later one that does not fit loses its snippet, then
    its row; the last line counts the rows left out.
    """
    findings = [f for f in ordered_findings(diagnosis) if not is_in_headline(f, diagnosis)]
    if not findings:
        return []
    widths = column_widths(layout.width)
    lines = [Text(" " * MARGIN + padded_cells(HEADS[: len(widths)], widths), style=MUTED)]
    room = height - 1  # the empty line after the table
    shown = 0
    for number, finding in enumerate(findings, 1):
        row = change_row(number, finding, diagnosis, layout)
        snippet = snippet_lines(finding, layout)
        line_for_rest = 0 if number == len(findings) else 1
        if shown == 0 or len(lines) + len(row) + len(snippet) + line_for_rest <= room:
            lines += [*row, *snippet]
        elif len(lines) + len(row) + line_for_rest <= room:
            lines += row
        else:
            break
        shown += 1
    if shown < len(findings):
        left = len(findings) - shown
        lines.append(Text(f"    and {left} more, --verbose lists all", style=MUTED))
    return [*lines, Text("")]


def is_in_headline(finding: Finding, diagnosis: Diagnosis) -> bool:
    """Return whether the headline already says all of a finding that recommends no change."""
    is_verdict = finding.key == diagnosis.verdict.finding_key
    return (
        is_verdict
        and not finding.actions
        and finding.where is not None
        and (finding.speedup is None)
    )


def column_widths(width: int) -> list[int]:
    """Return the columns' widths: change with its number, cost, speedup, evidence if it fits."""
    left = width - MARGIN - COST_CELLS - SPEEDUP_CELLS - 2 * GAP
    if width < NARROW:
        return [left, COST_CELLS, SPEEDUP_CELLS]
    change = round((left - GAP) * CHANGE_SHARE)
    return [change, COST_CELLS, SPEEDUP_CELLS, left - GAP - change]


def change_row(
    number: int, finding: Finding, diagnosis: Diagnosis, layout: TerminalLayout
) -> list[Text]:
    """Return the lines of one finding, without its snippet."""
    widths = column_widths(layout.width)
    number_cells = len(f"{number} ")
    cells = [
        wrapped(recommended_change(finding), widths[0] - number_cells),
        [current_cost(finding, diagnosis)[0]],
        speedup_cell(finding),
    ]
    evidence = main_evidence(finding, diagnosis)
    if len(widths) == len(HEADS):
        cells.append(wrapped(evidence, widths[-1]))
    lines = []
    for index, texts in enumerate(zip_longest(*cells, fillvalue="")):
        lead = f"{number} " if index == 0 else " " * number_cells
        line = Text(" " * MARGIN + padded_cells((lead + texts[0], *texts[1:]), widths))
        if index < len(cells[0]):
            line.stylize("bold", 0, MARGIN + widths[0])
        lines.append(line)
    if len(widths) < len(HEADS) and evidence:
        lines += [Text(line) for line in wrapped(evidence, layout.width, "    ", "    ")]
    return lines


def speedup_cell(finding: Finding) -> list[str]:
    """Return the predicted speedup and its range, on one line where both fit."""
    likely, interval = predicted_speedup(finding.speedup)
    if not interval:
        return [likely]
    together = f"{likely} ({interval})"
    return [together] if len(together) <= SPEEDUP_CELLS else [likely, f"({interval})"]


def main_evidence(finding: Finding, diagnosis: Diagnosis) -> str:
    """Return the measured fact of the verdict's finding; what another finding claims."""
    is_in_verdict = finding.key == diagnosis.verdict.finding_key
    headline_is_shown = capitalized(finding.headline) == recommended_change(finding)
    if is_in_verdict or headline_is_shown:
        return finding.evidence[0].text if finding.evidence else ""
    return finding.headline


def snippet_lines(finding: Finding, layout: TerminalLayout) -> list[Text]:
    """Return the code of the first action, and the latencies that it is predicted to have."""
    if not finding.actions:
        return []
    action = finding.actions[0]
    predictions = [Text(" " * 6 + text, style=MUTED) for text in prediction_texts(action)]
    return [*code_lines(action.snippet, layout, 6), *predictions]


def code_lines(snippet: str | None, layout: TerminalLayout, indent: int) -> list[Text]:
    """Return code as lines of the screen, indented by `indent` columns."""
    pieces = [
        piece
        for line in (snippet or "").splitlines()
        for piece in textwrap.wrap(
            line, layout.width - indent, subsequent_indent="    ", break_on_hyphens=False
        )
    ]
    return [Text(" " * indent + piece, style=SNIPPET_STYLE) for piece in pieces]


def padded_cells(texts: tuple[str, ...], widths: list[int]) -> str:
    """Return the cells of a row, padded to their columns."""
    padded = [text.ljust(cells) for text, cells in zip(texts, widths, strict=True)]
    return (" " * GAP).join(padded).rstrip()
