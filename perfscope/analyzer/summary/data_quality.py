"""Events of a recording that contradict each other, and how much they lower the confidence."""

from perfscope.analyzer.diagnosis import DataQuality
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace
from perfscope.traces.validation.invariants import INVARIANTS, describe_violation


def data_quality(trace: Trace) -> list[DataQuality]:
    """Return one row for each invariant that the recording violates."""
    return [
        DataQuality(
            violation.invariant,
            violation.events,
            INVARIANTS[violation.invariant].effect,
            describe_violation(violation),
        )
        for violation in manifest(trace).violations
        if violation.invariant in INVARIANTS
    ]


def trust_in_data(trace: Trace) -> float:
    """Return the factor by which violations lower the confidence in what is read from the data."""
    trust = 1.0
    for row in data_quality(trace):
        trust *= INVARIANTS[row.invariant].trust
    return trust
