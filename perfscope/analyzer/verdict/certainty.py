"""Whether the finding that is the verdict is certain enough to be stated, or only possible."""

from typing import Final

from perfscope.analyzer.categories import OTHER_IDLE
from perfscope.analyzer.diagnosis import Diagnosis

LEAST_CONFIDENCE: Final = 0.5
"""Below it a verdict is as likely wrong as right."""
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
