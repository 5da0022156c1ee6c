"""The JSON that the timeline component reads, from routes and from reports."""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.longest_interval import longest_stretch
from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.timeline.event import Event
from perfscope.analyzer.timeline.lane import EVENT_COLORS
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.search import Hits
from perfscope.analyzer.timeline.selection import BY
from perfscope.analyzer.timeline.track import Lanes
from perfscope.traces.trace import Trace
from perfscope.ui.finding_colors import color_category
from perfscope.ui.phrases import finding_name
from perfscope.ui.theme import texture

VERSION = 1
NAMES_AT_ONCE = 4096
"""How many names the first answer has; the component requests the others when it needs them."""
MOST_CODES = 20_000
EXTRA_LABELS = {
    "input_dataset": "dataset",
    "input_collate": "collate",
    "step_0": "range",
    "step_1": "range",
}
TRACK = ("group", "kind", "title", "first", "rows", "events", "hidden", "shut", "tid")
STATED_COLUMNS = ("count", "sum_ns", "share", "exclusive_ns", "longest_ns")


def timeline_header(
    lanes: Lanes, diagnosis: Diagnosis | None = None, places: Sequence[str] = ()
) -> dict[str, Any]:
    """Return tracks, groups, colors and the first names: everything but events.

    `places` are more ways to group the statistics of a selection.
    """
    texts = lanes.names.texts
    return {
        "version": VERSION,
        "span": list(lanes.span_ns),
        "events": lanes.events,
        "colors": list(EVENT_COLORS),
        "labels": [
            CATEGORY[name].label if name in CATEGORY else EXTRA_LABELS[name]
            for name in EVENT_COLORS
        ],
        "waits": [texture(name) == "wait" for name in EVENT_COLORS],
        "names": texts[:NAMES_AT_ONCE],
        "name_count": len(texts),
        "key": legend_colors(lanes.names),
        "name_colors": base64_bytes(lanes.names.color_codes()),
        "tracks": [[getattr(track, name) for name in TRACK] for track in lanes.tracks],
        "groups": [[group.title, group.rank] for group in lanes.groups],
        "notes": lanes.notes,
        "by": [*BY, *places],
        "marks": finding_marks(diagnosis) if diagnosis is not None else [],
    }


def legend_colors(names: Names) -> list[int]:
    """Return the colors that the legend explains: those of work and waits, not of levels."""
    colors = {color for code, color in enumerate(names.colors) if code not in names.levels}
    return sorted(colors)


def base64_bytes(numbers: NDArray[np.uint8]) -> str:
    """Return bytes in base64."""
    return base64.b64encode(numbers.tobytes()).decode()


def finding_marks(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return the intervals of the findings' evidence."""
    return [
        {
            "from": fact.start_ns,
            "to": fact.end_ns,
            "id": finding_name(finding),
            "text": fact.text,
            "color": color_category(finding.id),
        }
        for finding in diagnosis.findings
        for fact in finding.evidence
        if fact.start_ns is not None and fact.end_ns is not None
    ]


def longest_places(trace: Trace, diagnosis: Diagnosis | None) -> list[dict[str, Any]]:
    """Return the intervals that parts of the time budget lead to: the step with most of each."""
    if diagnosis is None or diagnosis.budget_rank is None:
        return []
    return [
        {
            "from": step.start_ns,
            "to": step.end_ns,
            "text": f"The step with most {CATEGORY[category].label}",
            "color": category,
        }
        for (rank, category), step in trace.fact(longest_stretch).items()
        if rank == diagnosis.budget_rank
    ]


def of_selection(frame: pd.DataFrame, most: int) -> dict[str, Any]:
    """Return the first rows of a selection's statistics, and the number of the others."""
    rows = [
        [
            str(row["name"]),
            EVENT_COLORS.index(row["category"]),
            *(float(row[name]) for name in STATED_COLUMNS),
        ]
        for row in frame.head(most).to_dict("records")
    ]
    return {"rows": rows, "more": max(len(frame) - most, 0)}


def of_hits(hits: Hits) -> dict[str, Any]:
    """Return the hits of a search."""
    return {"codes": hits.codes[:MOST_CODES], "count": hits.count, "density": hits.density.tolist()}


def of_event(event: Event | None) -> dict[str, Any] | None:
    """Return the details of an event."""
    return None if event is None else asdict(event)
