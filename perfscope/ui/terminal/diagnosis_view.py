"""The diagnosis in a terminal: the sentence first, then where a step goes, what to change, and what
was not seen.
"""

import time
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.ui.phrases import about, bound_by, clock_agreement, missing, overhead
from perfscope.ui.terminal.budget_bar import budget_bar
from perfscope.ui.terminal.changes_table import changes_table, wrapped
from perfscope.ui.terminal.output import filtered_console, one_line
from perfscope.ui.terminal.rank_bars import rank_bars

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

WIDEST, NARROWEST, IN_A_PIPE = 120, 60, 100


def show(
    diagnosis: Diagnosis,
    trace: "Trace | None",
    stream: TextIO,
    *,
    most_lines: int | None = None,
    who: list[str] | None = None,
) -> None:
    """Print it: with colour on a terminal, the same words without elsewhere and under NO_COLOR.

    `most_lines` cuts the end off, so that the top stays in sight where the view is refreshed in
    place; `who` was looked at, where there is no trace to tell it from.
    """
    console = filtered_console(stream, soft_wrap=True)
    width = max(NARROWEST, min(console.width, WIDEST)) if stream.isatty() else IN_A_PIPE
    colour = console.color_system is not None and not console.no_color
    shown = lines(diagnosis, trace, width, colour, who)
    if most_lines is not None and len(shown) > most_lines:
        shown = [
            *shown[: most_lines - 1],
            Text("  ... the rest does not fit here", style="bright_black"),
        ]
    for line in shown:
        console.print(harmless(line))


def harmless(line: Text) -> Text:
    """Return the line as `one_line` cleans it, its styles kept. Cleaned before it is laid out, it
    keeps its width.
    """
    line.plain = one_line(line.plain)
    return line


def lines(
    diagnosis: Diagnosis,
    trace: "Trace | None",
    width: int,
    colour: bool,
    who: list[str] | None = None,
) -> list[Text]:
    """The whole view, one Text a line, none wider than `width` (but for what cannot be broken, such
    as a path).
    """
    return [
        *headline(diagnosis, about(diagnosis, trace) if who is None else who, width),
        *budget_bar(diagnosis, width, colour),
        *rank_bars(diagnosis, colour),
        *changes_table(diagnosis, width),
        *limits(diagnosis, trace, width),
        *way_on(diagnosis),
    ]


def headline(diagnosis: Diagnosis, who: list[str], width: int) -> list[Text]:
    """Who was looked at, and the verdict: its first sentence stands out."""
    verdict = diagnosis.verdict
    rest = " ".join(filter(None, [verdict.explanation, verdict.caveat]))
    # Named colours: they follow the terminal's own theme, so that the sentence reads on light and
    # on dark.
    style = {"healthy": "bold green", "unknown": "bold"}.get(diagnosis.verdict.id, "bold yellow")
    sure = f"{bound_by(diagnosis)}; sure: {diagnosis.verdict.confidence:.2f}"
    return [
        *(Text(line, style="bright_black") for line in wrapped(", ".join(who), width)),
        Text(""),
        *(Text(line, style=style) for line in wrapped(verdict.headline, width)),
        *(Text(line) for line in wrapped(rest, width)),
        Text(sure, style="bright_black"),
        Text(""),
    ]


def limits(diagnosis: Diagnosis, trace: "Trace | None", width: int) -> list[Text]:
    """What was looked for and not there, what was not measured and why, what looking cost."""
    found: list[str] = []
    if diagnosis.clear:
        found += wrapped(
            "looked for and not there: " + ", ".join(diagnosis.clear), width, "  ", "    "
        )
    for what, why in missing(diagnosis):
        found += wrapped(f"not measured: {what} ({why})", width, "  ", "    ")
    agreement = clock_agreement(diagnosis)
    if agreement is not None:
        found += wrapped(f"clocks: {agreement}", width, "  ", "    ")
    cost = overhead(diagnosis)
    if cost is not None:
        found.append(f"  overhead: {cost}{detached(trace)}")
    return [Text(line) for line in [*found, ""]]


def detached(trace: "Trace | None") -> str:
    """Return when the recording ended, once it has."""
    if trace is None or not trace.manifest.finished:
        return ""
    at = time.localtime((trace.manifest.zero_realtime_ns + trace.span_ns[1]) / 1e9)
    return f"; detached at {time.strftime('%H:%M:%S', at)}, all patches removed"


def way_on(diagnosis: Diagnosis) -> list[Text]:
    """Where the run is kept, and what to ask next."""
    if diagnosis.run is None:
        return []
    return [
        Text(f"  run   {diagnosis.run}"),
        Text(f"  next  perfscope report {diagnosis.run} -o report.html"),
    ]
