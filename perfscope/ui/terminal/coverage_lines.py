"""Short lines on what bounds the run, what was checked, what was not, and the overhead."""

import time
from typing import TYPE_CHECKING

from rich.text import Text

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.ui.coverage import (
    clock_agreement,
    incomplete_parts,
    not_checked_counts,
    overhead_text,
    readable_name,
)
from perfscope.ui.phrases import bound_by_text
from perfscope.ui.terminal.layout import MUTED, TerminalLayout, wrapped

if TYPE_CHECKING:
    from perfscope.traces.run_folder.manifest import Manifest
    from perfscope.traces.trace import Trace

LABEL_CELLS = 22
MOST_LIST_LINES = 2
WITHOUT_PROBE = ("off", "unavailable")
"""The statuses of a probe that was never in the process."""


def coverage_lines(
    diagnosis: Diagnosis, trace: "Trace | None", layout: TerminalLayout
) -> list[Text]:
    """Return the lines between the recommended changes and the run folder."""
    lines = labeled_text("bound by", [bound_by_text(diagnosis)], layout)
    if not layout.verbose:
        lines += checked_lines(diagnosis, layout)
    agreement = clock_agreement(diagnosis)
    if agreement is not None:
        lines += labeled_text("clocks", [agreement], layout)
    overhead = overhead_text(diagnosis)
    if overhead is not None:
        lines += labeled_text("overhead", [f"{overhead}{detached_text(trace)}"], layout)
    return [*lines, Text("")]


def checked_lines(diagnosis: Diagnosis, layout: TerminalLayout) -> list[Text]:
    """Return what was checked and what was not, in short; `--verbose` prints the lists instead."""
    clear = [readable_name(finding_id) for finding_id in diagnosis.clear]
    parts = incomplete_parts(diagnosis, include_absent=False)
    incomplete = [incomplete_text(what, why, text_cells(layout)) for what, why in parts]
    return [
        *labeled_text("checked, not found", list_lines(clear, MOST_LIST_LINES, layout), layout),
        *labeled_text("not checked", not_checked_text(diagnosis), layout),
        *labeled_text("incomplete", list_lines(incomplete, MOST_LIST_LINES, layout), layout),
    ]


def incomplete_text(what: str, why: str, cells: int) -> str:
    """Return what is incomplete and why; a reason that does not fit is left to `--verbose`."""
    text = f"{readable_name(what)} ({why})"
    return text if len(text) < cells else f"{readable_name(what)} (--verbose has the reason)"


def not_checked_text(diagnosis: Diagnosis) -> list[str]:
    """Return the number of findings not checked, per reason; `--verbose` has their names."""
    counts = not_checked_counts(diagnosis)
    if not counts:
        return []
    names = "lists them" if len(diagnosis.not_checked) > 1 else "names it"
    return [f"{', '.join(counts)}; --verbose {names}"]


def list_lines(items: list[str], most_lines: int, layout: TerminalLayout) -> list[str]:
    """Return the items as a list of at most `most_lines` lines that says how many it leaves out."""
    cells = text_cells(layout)
    lines: list[str] = []
    rest = list(items)
    while rest and len(lines) < most_lines - 1:
        line = rest.pop(0)
        while rest and len(line) + len(", ") + len(rest[0]) < cells:
            line += f", {rest.pop(0)}"
        lines.append(line + ("," if rest else ""))
    return [*lines, shortened_list(rest, cells)] if rest else lines


def shortened_list(items: list[str], cells: int) -> str:
    """Return as many items as fit into `cells` columns, and the number of the others."""
    for count in range(len(items), 0, -1):
        left = len(items) - count
        text = ", ".join(items[:count]) + (f" and {left} more" if left else "")
        if len(text) <= cells or count == 1:
            return text
    return ""


def labeled_text(label: str, texts: list[str], layout: TerminalLayout) -> list[Text]:
    """Return the texts next to a label, wrapped where they are too long."""
    pieces = [piece for text in texts for piece in wrapped(text, text_cells(layout))]
    return label_lines(label, pieces)


def label_lines(label: str, texts: list[str]) -> list[Text]:
    """Return the texts as lines next to a label."""
    lines = []
    for index, text in enumerate(texts):
        name = label if index == 0 else ""
        lines.append(Text().append(f"  {name:{LABEL_CELLS - 2}}", style=MUTED).append(text))
    return lines


def text_cells(layout: TerminalLayout) -> int:
    """Return the columns that are left next to the labels."""
    return layout.width - LABEL_CELLS


def detached_text(trace: "Trace | None") -> str:
    """Return when the recording ended, once it has, and what it left in the process."""
    if trace is None or trace.is_profiler_trace or not trace.manifest.finished:
        return ""
    if not had_probe(trace.manifest):
        return "; observed from outside, nothing was patched"
    end_s = (trace.manifest.zero_realtime_ns + trace.span_ns[1]) / 1e9
    clock = time.strftime("%H:%M:%S", time.localtime(end_s))
    return f"; detached at {clock}, all patches removed"


def had_probe(manifest: "Manifest") -> bool:
    """Return whether the probe ran in the process."""
    probe = next((source for source in manifest.sources if source.name == "probe"), None)
    return probe is not None and probe.status not in WITHOUT_PROBE
