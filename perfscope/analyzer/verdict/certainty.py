"""How certain a diagnosis is: whether its verdict is only possible, and what its shares count.

The list of runs imports it, so it does not import the findings.
"""

from collections.abc import Sequence
from typing import Final

from perfscope.analyzer.categories import CATEGORY, OTHER_IDLE
from perfscope.analyzer.diagnosis import Diagnosis, RunPhase

LEAST_CONFIDENCE: Final = 0.5
"""Below it a verdict is as likely wrong as right."""
WAITS_FOR_CORES: Final = ("cpu-oversubscription", "cpu-throttled")
"""The findings whose time the time budget counts as computing, although the thread waits."""
COMPUTE: Final = "compute"
LEAST_UNSEEN: Final = 0.01
"""The share of a recording that is named where the time budget leaves it out."""
MOST_UNEXPLAINED: Final = 2.0
"""How many times what a finding costs may be unexplained while it is the verdict."""


def is_uncertain(diagnosis: Diagnosis) -> bool:
    """Return whether the verdict is a finding that is only possible.

    Its confidence is below LEAST_CONFIDENCE, or more of the time is unexplained.
    """
    if diagnosis.verdict.kind != "finding":
        return False
    confidence = diagnosis.verdict.confidence
    return confidence < LEAST_CONFIDENCE or unexplained_share(diagnosis) is not None


def unexplained_share(diagnosis: Diagnosis) -> float | None:
    """Return the share of the time budget that is idle for an unknown reason.

    None where that is not its largest part, or at most twice what the verdict's finding costs. A
    server that is idle waits for requests.
    """
    if diagnosis.workload == "server":
        return None
    largest = max(diagnosis.time_budget, key=lambda part: part.share, default=None)
    key = diagnosis.verdict.finding_key
    cost = next((each.share for each in diagnosis.findings if each.key == key), None)
    if largest is None or cost is None or largest.category != OTHER_IDLE:
        return None
    return largest.share if largest.share > MOST_UNEXPLAINED * cost else None


def share_waiting_for_core(diagnosis: Diagnosis) -> float | None:
    """Return the share of its time in which the thread waits for a core, None where it does not.

    `bound_by` counts these waits as the host's, and the time budget as computing.
    """
    computes = any(CATEGORY[part.category].resource == COMPUTE for part in diagnosis.time_budget)
    shares = [each.share for each in diagnosis.findings if each.id in WAITS_FOR_CORES]
    return max(shares) if shares and computes else None


def counted_s(diagnosis: Diagnosis) -> float | None:
    """Return the seconds of a recording that are in its time budget.

    None where all but a small share are: a part of a trace is before the first or after the last
    work of its device.
    """
    if not_recorded_share(diagnosis.run_budget) < LEAST_UNSEEN:
        return None
    return sum(part.seconds for part in diagnosis.time_budget)


def not_recorded_share(phases: Sequence[RunPhase]) -> float:
    """Return the share of a recording in which it is not known what the device did."""
    return sum(phase.share for phase in phases if phase.phase == "not-recorded")
