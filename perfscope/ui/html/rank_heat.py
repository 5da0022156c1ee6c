"""The card of the ranks over the steps: a row per rank, the slowest first, colored by own time."""

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.rank_heat import RankHeat, rank_heat
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.html.markup import card, escape

FEWEST_RANKS = 4
STRAGGLER = "straggler"
UNKNOWN, LEVELS = 0, 254
"""A byte per cell: 0 is unknown, 1 is the shortest own time, 255 the longest."""
NOTE = (
    "A row per rank, the slowest first; a column per step, or the mean of neighbors. A stronger"
    " color means more time spent on the rank's own work, not waiting for others. Click to see the"
    " rank and the step on the timeline."
)


def rank_heat_card(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the card; nothing for a job of few ranks."""
    heat = trace.fact(rank_heat)
    if heat is None or len(heat.ranks) < FEWEST_RANKS:
        return ""
    data = escape(json.dumps(heat_data(heat, straggler_ranks(diagnosis))))
    label = f"Own time of {len(heat.ranks)} ranks in {len(heat.first_steps)} columns of steps"
    return card(
        "Ranks and steps",
        f'<p class="note">{NOTE}</p><div class="rank-heat" role="img" aria-label="{label}"'
        f' data-heat="{data}"></div>',
        "rank-heat",
    )


def heat_data(heat: RankHeat, outlined: list[int]) -> dict[str, Any]:
    """Return what the script draws: times in ms, places in seconds."""
    known = heat.own_ms[~np.isnan(heat.own_ms)]
    low_ms, high_ms = float(known.min()), float(known.max())
    return {
        "ranks": heat.ranks,
        "outlined": outlined,
        "steps": heat.first_steps,
        "from": [round(begin / 1e9, 6) for begin in heat.begin_ns],
        "to": [round(end / 1e9, 6) for end in heat.end_ns],
        "low_ms": low_ms,
        "high_ms": high_ms,
        "cells": base64.b64encode(cell_levels(heat.own_ms, low_ms, high_ms).tobytes()).decode(),
    }


def cell_levels(own_ms: NDArray[np.float64], low_ms: float, high_ms: float) -> NDArray[np.uint8]:
    """Return a byte per cell."""
    share = (own_ms - low_ms) / max(high_ms - low_ms, 1e-9)
    level = 1 + np.round(LEVELS * np.nan_to_num(share))
    return np.where(np.isnan(own_ms), UNKNOWN, level).astype(np.uint8)


def straggler_ranks(diagnosis: Diagnosis) -> list[int]:
    """Return the ranks that a finding calls stragglers."""
    rank_of = {each.process: each.rank for each in diagnosis.per_process}
    # The evidence with an interval is a wait of another rank.
    processes = {
        fact.process
        for finding in diagnosis.findings
        if finding.id == STRAGGLER
        for fact in finding.evidence
        if fact.process is not None and fact.start_ns is None
    }
    ranks = {rank_of.get(process) for process in processes}
    return sorted(rank for rank in ranks if rank is not None)
