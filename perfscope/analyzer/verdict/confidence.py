"""The confidence in the verdict: a bootstrap over steps, lowered where steps are few or another
finding costs as much.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.bootstrap import Floats, resampled_means
from perfscope.analyzer.categories import CATEGORIES, CHECKPOINT, INPUT_WAIT
from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.limits import Limits

RECOVERABLE: Final = (INPUT_WAIT, CHECKPOINT, "gc", "gil")
"""Columns of the budget that could be saved, input-wait first: above its limit a run is not
healthy.
"""
RECOVERABLE_IN_TRACES: Final = tuple(
    category.id
    for category in CATEGORIES
    if category.recoverable and category.id not in RECOVERABLE
)
"""Further categories that could be saved and only a profiler's trace shows."""
HIGHEST: Final = 0.99
"""A single recording makes nothing certain."""
WITHOUT_STEPS: Final = 0.5
"""Confidence without steps to resample: only samples of the main thread were taken."""
WITHOUT_REPETITION: Final = 0.8
"""Factor where nothing repeats: the recording may show a beginning and not the usual."""
NS_PER_S: Final = 1e9
CLEARLY_AHEAD: Final = 0.95
"""Share of resamples in which the first finding costs more, below which the order is uncertain."""


@dataclass(frozen=True)
class VerdictConfidence:
    """Confidence 0..1 in the first finding, or in there being none.

    `rival` is the id of a finding that costs about as much. `has_few_steps`: it rests on few steps.
    """

    value: float
    rival: str | None = None
    has_few_steps: bool = False


def confidence_in_finding(
    found: list[Finding], rows: pd.DataFrame | None, limits: Limits
) -> VerdictConfidence:
    """Return the share of resamples in which the first finding costs enough, and the most.

    `rows` are the steady steps of the critical rank with their budget.
    """
    if rows is None or not len(rows):
        return VerdictConfidence(WITHOUT_STEPS)
    step = rows["dur"].to_numpy(np.float64)
    first = loss_per_step(found[0], rows)
    second = loss_per_step(found[1], rows) if len(found) > 1 else np.zeros(len(rows))
    means = resampled_means(np.column_stack([step, first, second]))
    least_share = min(limits.worth_share, found[0].share)
    is_enough = means[:, 1] >= least_share * means[:, 0]
    is_ahead = means[:, 1] > means[:, 2]
    has_rival = len(found) > 1 and float(is_ahead.mean()) < CLEARLY_AHEAD
    return VerdictConfidence(
        value=round(trust_in_steps(rows, limits) * float((is_enough & is_ahead).mean()), 3),
        rival=found[1].id if has_rival else None,
        has_few_steps=has_few_steps(rows, limits),
    )


def confidence_in_health(
    rows: pd.DataFrame | None,
    limits: Limits,
    *,
    usual_wait_ns: float = 0.0,
    recoverable: tuple[str, ...] = RECOVERABLE,
) -> VerdictConfidence:
    """Return the share of resamples in which no recoverable category reaches its limit.

    `usual_wait_ns` of input wait per step cannot be saved: it is the receiving of a batch.
    """
    if rows is None or not len(rows):
        return VerdictConfidence(0.0)
    step = rows["dur"].to_numpy(np.float64)
    losses = rows[list(recoverable)].to_numpy(np.float64)
    losses[:, 0] -= min(usual_wait_ns, float(losses[:, 0].mean()))
    means = resampled_means(np.column_stack([step, losses]))
    is_below = (means[:, 1:] < limits.recoverable_share * means[:, :1]).all(axis=1)
    value = trust_in_steps(rows, limits) * float(is_below.mean())
    return VerdictConfidence(round(value, 3), has_few_steps=has_few_steps(rows, limits))


def has_few_steps(rows: pd.DataFrame, limits: Limits) -> bool:
    """Return whether there are fewer steps than a bootstrap needs."""
    return len(rows) < limits.enough_steps


def trust_in_steps(rows: pd.DataFrame | None, limits: Limits) -> float:
    """Return the confidence that the steps themselves allow: less where they are few or none."""
    if rows is None or not len(rows):
        return WITHOUT_STEPS
    if not has_few_steps(rows, limits):
        return HIGHEST
    return HIGHEST * math.sqrt(len(rows) / limits.enough_steps)


def loss_per_step(finding: Finding, rows: pd.DataFrame) -> Floats:
    """Return what a finding costs in each step, ns.

    It is its category's time scaled to its loss, else its share of every step; a loss outside of
    steps is spread evenly over them.
    """
    if finding.scope == "run":
        return np.full(len(rows), finding.lost_s * NS_PER_S / len(rows))
    step = rows["dur"].to_numpy(np.float64)
    category = RULES[finding.id].category
    if category is None or float(rows[category].sum()) <= 0.0:
        return finding.share * step
    taken = rows[category].to_numpy(np.float64)
    return taken * (finding.share * float(step.sum()) / float(taken.sum()))
