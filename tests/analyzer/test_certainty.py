"""What the certainty of a diagnosis assumes of the findings, without importing them."""

from perfscope.analyzer.findings import RULES
from perfscope.analyzer.verdict.certainty import WAITS_FOR_CORES


def test_the_findings_of_waits_for_cores_are_those_that_lose_compute_time() -> None:
    assert {rule.id for rule in RULES.values() if rule.loses_compute_time} == set(WAITS_FOR_CORES)
