"""How sure the verdict is: bootstrap over steps, lowered where steps are few or another finding
costs as much.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.bootstrap import Floats, resampled_means
from perfscope.analyzer.categories import CATEGORIES, CHECKPOINT, INPUT_WAIT
from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.limits import Limits

# What could be had back, input-wait first: above its limit a run is not healthy.
RECOVERABLE = (INPUT_WAIT, CHECKPOINT, "gc", "gil")
IN_TRACES = tuple(
    category.id
    for category in CATEGORIES
    if category.recoverable and category.id not in RECOVERABLE
)
# Nothing seen once is certain.
MOST = 0.99
# Without steps to resample (looked at from outside) samples of the main thread are all there is.
FROM_OUTSIDE = 0.5
# Where nothing repeats, what was seen may be a beginning and not the rule.
UNREPEATED = 0.8


@dataclass(frozen=True)
class Standing:
    """Confidence 0..1 of the first finding (or of there being none), and the finding that it cannot
    be told from.
    """

    confidence: float
    rival: str | None = None
    few: bool = False


def confidence_of(
    found: list[Finding],
    rows: pd.DataFrame | None,
    limits: Limits,
    ordinary_ns: float = 0.0,
    recoverable: tuple[str, ...] = RECOVERABLE,
) -> Standing:
    """The share of resamples in which the first of `found` costs enough and more than the second.

    `rows` are the steady steps of the critical rank with their budget; `ordinary_ns` of input-wait
    a step is no loss (taking a batch over). Without findings it is the share of resamples in which
    no category that could be recovered reaches its limit.
    """
    if rows is None or not len(rows):
        return Standing(FROM_OUTSIDE if found else 0.0)
    few = len(rows) < limits.enough_steps
    trust = MOST * (len(rows) / limits.enough_steps) ** 0.5 if few else MOST
    step = rows["dur"].to_numpy(np.float64)
    if not found:
        worst = rows[list(recoverable)].to_numpy(np.float64)
        worst[:, 0] -= min(ordinary_ns, float(worst[:, 0].mean()))
        means = resampled_means(np.column_stack([step, worst]))
        below = (means[:, 1:] < limits.input_share * means[:, :1]).all(axis=1)
        return Standing(round(trust * float(below.mean()), 3), None, few)
    first = losses(found[0], rows)
    second = losses(found[1], rows) if len(found) > 1 else np.zeros(len(rows))
    means = resampled_means(np.column_stack([step, first, second]))
    enough = means[:, 1] >= min(limits.worth_share, found[0].share) * means[:, 0]
    ahead = means[:, 1] > means[:, 2]
    sure = float((enough & ahead).mean())
    rival = found[1].id if len(found) > 1 and float(ahead.mean()) < 0.95 else None
    return Standing(round(trust * sure, 3), rival, few)


def losses(finding: Finding, rows: pd.DataFrame) -> Floats:
    """What a finding costs in each step, ns: its column scaled to its lost share, else that share
    of every step.
    """
    step = rows["dur"].to_numpy(np.float64)
    name = RULES[finding.id].category
    if name is None or float(rows[name].sum()) <= 0.0:
        return finding.share * step
    cost = rows[name].to_numpy(np.float64)
    return cost * (finding.share * float(step.sum()) / float(cost.sum()))
