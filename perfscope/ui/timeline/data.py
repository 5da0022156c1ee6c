"""What the timeline component is told before it asks for pixels, and answers as JSON: for routes
and reports alike.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.timeline.event import Event
from perfscope.analyzer.timeline.lane import COLOURS
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.search import Hits
from perfscope.analyzer.timeline.selection import BY
from perfscope.analyzer.timeline.track import Lanes
from perfscope.ui.marks import mark_of
from perfscope.ui.phrases import finding_name
from perfscope.ui.theme import texture

VERSION = 1
NAMES_AT_ONCE = 4096
"""Names in the first answer; the others are asked for when they are about to be read."""
MOST_CODES = 20_000
EXTRA_LABELS = {
    "input_dataset": "dataset",
    "input_collate": "collate",
    "step_0": "range",
    "step_1": "range",
}
TRACK = ("group", "kind", "title", "first", "rows", "events", "hidden", "shut", "tid")
STATED_COLUMNS = ("count", "sum_ns", "share", "exclusive_ns", "longest_ns")


def meta(
    lanes: Lanes, diagnosis: Diagnosis | None = None, places: Sequence[str] = ()
) -> dict[str, Any]:
    """Tracks, groups, colours and the first names: everything but events; `places` are what else a
    selection is told by.
    """
    texts = lanes.names.texts
    return {
        "version": VERSION,
        "span": list(lanes.span_ns),
        "events": lanes.events,
        "colours": list(COLOURS),
        "labels": [
            CATEGORY[one].label if one in CATEGORY else EXTRA_LABELS[one] for one in COLOURS
        ],
        "waits": [texture(one) == "wait" for one in COLOURS],
        "names": texts[:NAMES_AT_ONCE],
        "name_count": len(texts),
        "key": key(lanes.names),
        "name_colours": packed(lanes.names.colour_codes()),
        "tracks": [[getattr(one, name) for name in TRACK] for one in lanes.tracks],
        "groups": [[one.title, one.rank] for one in lanes.groups],
        "notes": lanes.notes,
        "by": [*BY, *places],
        "marks": marks(diagnosis) if diagnosis is not None else [],
    }


def key(names: Names) -> list[int]:
    """The colours that the key explains: those of work and waits; what levels are drawn in says
    nothing of them.
    """
    return sorted({colour for code, colour in enumerate(names.colours) if code not in names.levels})


def packed(numbers: NDArray[np.uint8]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def marks(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """The intervals that findings point at."""
    return [
        {
            "from": one.start_ns,
            "to": one.end_ns,
            "id": finding_name(finding),
            "text": one.text,
            "colour": mark_of(finding.id),
        }
        for finding in diagnosis.findings
        for one in finding.evidence
        if one.start_ns is not None and one.end_ns is not None
    ]


def of_selection(frame: pd.DataFrame, most: int) -> dict[str, Any]:
    """The first rows of a selection's statistics, and how many there are."""
    rows = [
        [
            str(one["name"]),
            COLOURS.index(one["category"]),
            *(float(one[name]) for name in STATED_COLUMNS),
        ]
        for one in frame.head(most).to_dict("records")
    ]
    return {"rows": rows, "more": max(len(frame) - most, 0)}


def of_hits(hits: Hits) -> dict[str, Any]:
    return {"codes": hits.codes[:MOST_CODES], "count": hits.count, "density": hits.density.tolist()}


def of_event(event: Event | None) -> dict[str, Any] | None:
    return None if event is None else asdict(event)
