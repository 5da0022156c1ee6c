"""How far a recording has come, and the pace of the loop now: cheap enough for twice a second."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.input.batch_times import batch_times
from perfscope.traces.trace import Trace

STARTING, OUTSIDE, LOOP_NOT_REACHED, FIRST_STEP, RUNNING = (
    "starting",
    "outside",
    "loop-not-reached",
    "first-step",
    "running",
)
"""The stages of a recording: no data yet; recorded from outside, which shows no steps; entered, and
nothing of a loop yet; in the first step; steps are complete.
"""
PACE_NS = 5_000_000_000
"""The pace is that of the last five seconds."""
FEWEST_STEPS = 3
"""Of slower loops it is that of the last steps."""


@dataclass(frozen=True)
class LiveProgress:
    """The stage, and the pace of the lowest rank. Unknown numbers are None."""

    stage: str
    steps: int = 0
    """Complete steps in the part of the recording that is kept in memory."""
    step_ms: float | None = None
    """The median step of the last seconds."""
    steps_per_s: float | None = None
    wait_share: float | None = None
    """The share of the last seconds in which the loop waited for data."""


def live_progress(trace: Trace) -> LiveProgress:
    """Return the progress, from the newest part of a recording."""
    rows = trace.fact(batch_times)
    if not len(rows):
        return LiveProgress(stage_without_steps(trace))
    rows = rows[rows["rank"] == rows["rank"].min()]
    ends, periods = rows["ts"].to_numpy(np.int64), rows["period"].to_numpy(np.int64)
    is_recent = ends > ends.max() - PACE_NS
    is_recent[-FEWEST_STEPS:] = True
    recent, waits = periods[is_recent], rows["wait"].to_numpy(np.int64)[is_recent]
    total_s = float(recent.sum()) / 1e9
    return LiveProgress(
        RUNNING,
        steps=len(rows),
        step_ms=float(np.median(recent)) / 1e6,
        steps_per_s=len(recent) / total_s if total_s > 0 else None,
        wait_share=float(waits.sum() / recent.sum()) if (waits >= 0).all() and total_s else None,
    )


def stage_without_steps(trace: Trace) -> str:
    """Return the stage of a recording without a complete step."""
    if trace.table("processes") is None:
        return STARTING
    if trace.manifest.depth == "observe":
        return OUTSIDE
    has_records = any(trace.has(name) for name in ("loader", "ranges"))
    return FIRST_STEP if has_records else LOOP_NOT_REACHED
