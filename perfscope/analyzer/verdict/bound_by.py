"""The resource that limits the run, from its time budget."""

from typing import Final

from perfscope.analyzer.categories import CATEGORY, COMPUTE_OR_HOST
from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.compute.work_limits import WorkLimits, work_limits
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.diagnosis import BoundBy, BudgetEntry, Finding
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.limits import Limits
from perfscope.traces.trace import Trace

COMPUTE: Final = "compute"
HOST: Final = "host"
UNKNOWN: Final = "unknown"
TIED: Final = 0.5
"""Confidence in the largest of two resources with equal shares."""
PER_LEAD: Final = 2.5
"""Confidence gained per share by which it leads: a lead of a fifth of the time is certain."""


def bound_by(
    budget: list[BudgetEntry],
    found: list[Finding],
    limits: Limits,
    *,
    budget_confidence: float,
    compute_is_unseen: bool = False,
    work: WorkLimits | None = None,
) -> BoundBy:
    """Return the resource with the largest share of the budget.

    Time that the thread waits for a core counts as the host's. `budget_confidence` is the
    confidence in the budget itself. `compute_is_unseen`: compute-or-host may contain no
    computation. `work` is what limits the device's work, where that is known: where it is mostly
    memory, memory limits the run and not arithmetic.
    """
    shares = resource_shares(budget, compute_is_unseen=compute_is_unseen)
    if not shares:
        return BoundBy(UNKNOWN, None, 0.0)
    starved = [finding.share for finding in found if RULES[finding.id].loses_compute_time]
    move_starved_share(shares, max(starved, default=0.0))
    largest = max(shares, key=lambda resource: shares[resource])
    share, confidence = shares[largest], confidence_in_lead(shares)
    if largest == COMPUTE and work is not None and work.whole:
        memory, arithmetic = work.memory / work.whole, work.compute / work.whole
        if memory > arithmetic and memory >= limits.mostly_memory:
            largest, share = MEMORY, share * memory
        confidence *= min(1.0, TIED + memory + arithmetic)
    return BoundBy(largest, round(share, 4), round(confidence * budget_confidence, 3))


def resource_shares(budget: list[BudgetEntry], *, compute_is_unseen: bool) -> dict[str, float]:
    """Return the share of the budget that each resource limits."""
    shares: dict[str, float] = {}
    for entry in budget:
        resource = CATEGORY[entry.category].resource
        if compute_is_unseen and entry.category == COMPUTE_OR_HOST:
            resource = UNKNOWN
        shares[resource] = shares.get(resource, 0.0) + entry.share
    return shares


def move_starved_share(shares: dict[str, float], starved: float) -> None:
    """Move the share in which the thread waits for a core from compute to the host."""
    moved = min(starved, shares.get(COMPUTE, 0.0))
    if moved > 0.0:
        shares[COMPUTE] -= moved
        shares[HOST] = shares.get(HOST, 0.0) + moved


def confidence_in_lead(shares: dict[str, float]) -> float:
    """Return the confidence that the largest resource is the largest, by how far it leads."""
    ordered = sorted(shares.values(), reverse=True)
    second = ordered[1] if len(ordered) > 1 else 0.0
    return min(1.0, TIED + PER_LEAD * (ordered[0] - second))


def work_of_rank(trace: Trace, rank: int | None) -> WorkLimits | None:
    """Return what limits the work of a rank's device, None where operators were not recorded."""
    unit = next((unit for unit in work_units(trace) if unit.rank == rank), None)
    return None if unit is None else trace.fact(work_limits).get((unit.process, unit.device))
