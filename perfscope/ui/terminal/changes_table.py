"""What to change, by time won: a row a finding with what it costs now, what it wins and why; the
code to change below it.
"""

import re
import textwrap
from itertools import zip_longest

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.ui.phrases import cost, gain, name_of, reasons, title

COST_CELLS, GAIN_CELLS, GAP = 13, 16, 2
NARROW = 92
MOST_REASONS = 4
UNIT = re.compile(r"(\d) (%|ms|s|µs|MB|GB|cores?|steps?)(?!\w)")


def changes_table(diagnosis: Diagnosis, width: int) -> list[Text]:
    """No lines without findings. Below 92 columns the reasons stand under the row instead of beside
    it.
    """
    if not diagnosis.findings:
        return []
    widths = columns(width)
    heads = ["what to change", "now costs", "then", *(["because"] if len(widths) == 4 else [])]
    lines = [Text("  " + joined(heads, widths), style="bright_black")]
    for number, finding in enumerate(diagnosis.findings, 1):
        lines += row(number, finding, diagnosis, widths, width)
    return [*lines, Text("")]


def columns(width: int) -> list[int]:
    """Cells of: what (with its number), cost, gain, and why where there is room."""
    left = width - 2 - COST_CELLS - GAIN_CELLS - 2 * GAP
    if width < NARROW:
        return [left, COST_CELLS, GAIN_CELLS]
    what = round((left - GAP) * 0.52)
    return [what, COST_CELLS, GAIN_CELLS, left - GAP - what]


def row(
    number: int, finding: Finding, diagnosis: Diagnosis, widths: list[int], width: int
) -> list[Text]:
    """One finding: the cells side by side, then the snippet, the other ways and its name."""
    why = reasons(finding, diagnosis)[:MOST_REASONS]
    cells = [
        wrapped(title(finding), widths[0] - 2),
        [*cost(finding, diagnosis)],
        gain_cell(finding),
    ]
    if len(widths) == 4:
        cells.append([line for one in why for line in wrapped(one, widths[3])])
    lines = []
    for at, texts in enumerate(zip_longest(*cells, fillvalue="")):
        lead = f"{number} " if at == 0 else "  "
        lines.append(Text("  " + joined([lead + texts[0], *texts[1:]], widths)))
        if at == 0:
            lines[0].stylize("bold", 0, 2 + widths[0])
        elif at < len(cells[0]):
            lines[at].stylize("bold", 0, 2 + widths[0])
    if len(widths) < 4:
        lines += [
            Text(line)
            for line in wrapped("because: " + "; ".join(why), width, "    ", "    ")
            if why
        ]
    return [
        *lines,
        *ways(finding, width),
        Text(f"    perfscope explain {name_of(finding)}", style="bright_black"),
    ]


def gain_cell(finding: Finding) -> list[str]:
    likely, span = gain(finding.speedup)
    return [likely, *([f"({span})"] if span else [])]


def ways(finding: Finding, width: int) -> list[Text]:
    """The code of the first way, then the other ways with theirs."""
    lines: list[Text] = []
    for at, action in enumerate(finding.actions):
        if at:
            lines += [Text(line) for line in wrapped(action.text, width, "    - ", "      ")]
        for line in (action.snippet or "").splitlines():
            shown = textwrap.wrap(line, width - 8, subsequent_indent="    ", break_on_hyphens=False)
            lines += [Text("        " + piece, style="cyan") for piece in shown]
    return lines


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of at most `width` columns; a number keeps its unit."""
    held = UNIT.sub("\\1\N{NO-BREAK SPACE}\\2", text)
    whole = textwrap.wrap(
        held, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in whole]


def joined(texts: list[str], widths: list[int]) -> str:
    """Cells padded to their columns."""
    padded = [text.ljust(cells) for text, cells in zip(texts, widths, strict=True)]
    return (" " * GAP).join(padded).rstrip()
