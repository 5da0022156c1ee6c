"""The diagnosis in a terminal: at most one screen, or everything with `--verbose`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.ui.phrases import (
    describe_subject,
    finding_name,
    recording_text,
    verdict_finding,
    verdict_texts,
    verdict_title,
)
from perfscope.ui.terminal.budget_bars import budget_bars
from perfscope.ui.terminal.changes_table import changes_table
from perfscope.ui.terminal.coverage_lines import coverage_lines, label_lines
from perfscope.ui.terminal.detail_lines import detail_lines
from perfscope.ui.terminal.layout import (
    MUTED,
    SCREEN_LINES,
    TerminalLayout,
    wrapped_lines,
)
from perfscope.ui.terminal.output import filtered_console, one_line
from perfscope.ui.terminal.rank_bars import rank_bars
from perfscope.ui.terminal.request_lines import request_lines

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

WIDEST, NARROWEST, WIDTH_IN_A_PIPE = 120, 60, 100
UNLIMITED = 10_000
VERDICT_STYLES = {"healthy": "bold green", "unknown": "bold"}
PROBLEM_STYLE = "bold yellow"
"""Named colors follow the terminal's theme, so that the headline is readable on light and dark."""


def show(
    diagnosis: Diagnosis,
    trace: "Trace | None",
    stream: TextIO,
    *,
    verbose: bool = False,
    most_lines: int | None = None,
    subject: list[str] | None = None,
) -> None:
    """Print the diagnosis, in color on a terminal; the words are the same without colors.

    `most_lines` truncates the view where it is refreshed in place. `subject` describes the
    recorded program where there is no trace to read it from.
    """
    console = filtered_console(stream, soft_wrap=True)
    terminal_width = max(NARROWEST, min(console.width, WIDEST))
    layout = TerminalLayout(
        width=terminal_width if stream.isatty() else WIDTH_IN_A_PIPE,
        height=SCREEN_LINES if most_lines is None else min(most_lines, SCREEN_LINES),
        in_color=console.color_system is not None and not console.no_color,
        verbose=verbose,
    )
    lines = diagnosis_lines(diagnosis, trace, layout, subject)
    if most_lines is not None and len(lines) > most_lines:
        truncated = Text("  … (truncated to fit the terminal)", style=MUTED)
        lines = [*lines[: most_lines - 1], truncated]
    for line in lines:
        console.print(without_controls(line))


def without_controls(line: Text) -> Text:
    """Return the line as `one_line` cleans it, with its styles.

    It is cleaned before it is laid out, so that it keeps its width.
    """
    line.plain = one_line(line.plain)
    return line


def diagnosis_lines(
    diagnosis: Diagnosis,
    trace: "Trace | None",
    layout: TerminalLayout,
    subject: list[str] | None = None,
) -> list[Text]:
    """Return the whole view; no line is wider than the layout, except for paths and commands."""
    subject = describe_subject(trace) if subject is None else subject
    top = [
        *subject_lines(diagnosis, subject, layout),
        *verdict_lines(diagnosis, layout),
        *budget_bars(diagnosis, layout),
        *rank_bars(diagnosis, layout),
        *request_lines(diagnosis, layout),
    ]
    bottom = [*coverage_lines(diagnosis, trace, layout), *next_step_lines(diagnosis)]
    if layout.verbose:
        changes = changes_table(diagnosis, layout, UNLIMITED)
        return [*top, *changes, *detail_lines(diagnosis, layout), *bottom]
    room = layout.height - len(top) - len(bottom)
    return [*top, *changes_table(diagnosis, layout, room), *bottom]


def subject_lines(diagnosis: Diagnosis, subject: list[str], layout: TerminalLayout) -> list[Text]:
    """Return what was recorded: the program and its speed, then the machine."""
    recorded = ", ".join(recording_text(diagnosis))
    if not subject:
        return [*wrapped_lines(recorded, layout, style=MUTED), Text("")]
    name, *machine = subject
    lines = wrapped_lines(f"{name}: {recorded}", layout, style=MUTED)
    return [*lines, *wrapped_lines(", ".join(machine), layout, style=MUTED), Text("")]


def verdict_lines(diagnosis: Diagnosis, layout: TerminalLayout) -> list[Text]:
    """Return the headline of the verdict, then its explanation and its caveat."""
    style = VERDICT_STYLES.get(diagnosis.verdict.id, PROBLEM_STYLE)
    title = verdict_title(diagnosis)
    text = " ".join(verdict_texts(diagnosis, title))
    headline = wrapped_lines(title, layout, style=style)
    return [*headline, *wrapped_lines(text, layout), Text("")]


def next_step_lines(diagnosis: Diagnosis) -> list[Text]:
    """Return where the run is stored, and the commands to continue with."""
    if diagnosis.run is None:
        return []
    commands = [f"perfscope ui {shlex.quote(diagnosis.run)}"]
    finding = verdict_finding(diagnosis)
    if finding is not None:
        commands.append(f"perfscope explain {finding_name(finding)}")
    elif diagnosis.verdict.kind == "general":
        commands.append(f"perfscope explain {diagnosis.verdict.id}")
    place = "trace" if Path(diagnosis.run).is_file() else "run folder"
    return [
        *label_lines(place, [diagnosis.run]),
        *label_lines("next", commands),
    ]
