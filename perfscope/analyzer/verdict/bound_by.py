"""Which resource limits the run, from its time budget."""

from perfscope.analyzer.categories import CATEGORY, COMPUTE_OR_HOST
from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.compute.work_limits import WorkLimits, work_limits
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.diagnosis import BoundBy, BudgetEntry, Finding
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.verdict.confidence import FROM_OUTSIDE, Standing
from perfscope.traces.trace import Trace

# From this share of the work on, and more than arithmetic limits, memory is said to bound it; the
# rest may be in small calls.
MOSTLY_MEMORY = 0.25


def bound_by(
    budget: list[BudgetEntry],
    found: list[Finding],
    standing: Standing,
    *,
    dark: bool = False,
    work: WorkLimits | None = None,
) -> BoundBy:
    """The largest resource of the budget; time lost for want of a core counts as the host's.

    `dark`: compute-or-host says nothing of computing: kernels were launched and not recorded, or it
    lies between the calls of a server. `work`: what limits the device's work where that is known;
    where it is memory for most of it, memory is what limits and not arithmetic.
    """
    shares: dict[str, float] = {}
    for entry in budget:
        resource = (
            "unknown"
            if dark and entry.category == COMPUTE_OR_HOST
            else CATEGORY[entry.category].resource
        )
        shares[resource] = shares.get(resource, 0.0) + entry.share
    if not shares:
        return BoundBy("unknown", None, 0.0)
    starved = max(
        (finding.share for finding in found if RULES[finding.id].starves_compute), default=0.0
    )
    moved = min(starved, shares.get("compute", 0.0))
    if moved > 0.0:
        shares["compute"] -= moved
        shares["host"] = shares.get("host", 0.0) + moved
    best = max(shares, key=lambda name: shares[name])
    ordered = sorted(shares.values(), reverse=True)
    margin = ordered[0] - (ordered[1] if len(ordered) > 1 else 0.0)
    # A lead of a fifth of the time is clear; a smaller one is less sure in proportion.
    sure = min(1.0, 0.5 + 2.5 * margin)
    if best == "compute" and work is not None and work.whole:
        memory, rest = (
            work.memory / work.whole,
            (work.whole - work.memory - work.compute) / work.whole,
        )
        known = 1.0 - rest
        if work.memory > work.compute and memory >= MOSTLY_MEMORY:
            best, shares[MEMORY] = MEMORY, shares["compute"] * memory
        sure *= min(1.0, 0.5 + known)
    return BoundBy(
        best, round(shares[best], 4), round(sure * max(standing.confidence, FROM_OUTSIDE), 3)
    )


def work_of_rank(trace: Trace, rank: int | None) -> WorkLimits | None:
    """What limits the work of a rank's device, None where its operators were not seen."""
    unit = next((one for one in work_units(trace) if one.rank == rank), None)
    return None if unit is None else trace.fact(work_limits).get((unit.process, unit.device))
