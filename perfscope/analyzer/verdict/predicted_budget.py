"""The time budget after the verdict's first change: which parts become shorter, and by how much."""

from dataclasses import dataclass

from perfscope.analyzer.categories import COMPUTE_OR_HOST, DEVICE_COMPUTE
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, Finding
from perfscope.analyzer.findings import RULES

SHORTEST_SHARE = 0.002
"""A change of less than this share of the time is not worth a line."""

SHORTEST_BEYOND = 0.01
"""A saving that exceeds the cost by less is the same number on the screens."""


@dataclass(frozen=True)
class PredictedBudget:
    """The shares of a time budget now and after a change, both of the time now.

    `is_bound`: only the largest saving is known. `rest` is the sum of `after`.
    """

    before: dict[str, float]
    after: dict[str, float]
    is_bound: bool

    @property
    def rest(self) -> float:
        """The time after the change as a share of the time now."""
        return sum(self.after.values())

    @property
    def changes(self) -> dict[str, float]:
        """What each part that becomes shorter loses."""
        lost = {name: share - self.after[name] for name, share in self.before.items()}
        return {name: share for name, share in lost.items() if share >= SHORTEST_SHARE}

    def saved_beyond(self, finding: Finding) -> float | None:
        """Return the share of the time that is saved beyond the cost, None for nearly nothing."""
        more = 1.0 - self.rest - finding.share
        return more if more >= SHORTEST_BEYOND else None


def predicted_budget(diagnosis: Diagnosis, finding: Finding) -> PredictedBudget | None:
    """Return the budget without the cause of a finding.

    What it costs is taken from its category; what is saved beyond that, because the rest of a step
    becomes faster, from computing. None without a prediction, where the budget is that of steps and
    the finding is not in them, and where its parts do not contain what is saved.
    """
    speedup = finding.speedup
    is_elsewhere = finding.scope != "steps" and diagnosis.budget_over == "steps"
    if speedup is None or speedup.high <= 1.0 or is_elsewhere:
        return None
    gain = speedup.high if speedup.likely is None else speedup.likely
    before = shares_of(diagnosis.time_budget)
    left, after = 1.0 - 1.0 / gain, dict(before)
    rule = RULES[finding.id]
    for category in (rule.category, rule.color, COMPUTE_OR_HOST, DEVICE_COMPUTE):
        taken = min(left, after.get(category or "", 0.0))
        if category is not None and taken > 0.0:
            after[category] -= taken
            left -= taken
    if left > SHORTEST_SHARE:
        return None
    return PredictedBudget(before, after, speedup.likely is None)


def speedup_without_cost(finding: Finding, budget: PredictedBudget | None) -> float | None:
    """Return the speedup if only the cost of a finding is saved, where its ceiling is higher."""
    if budget is None or not budget.is_bound or budget.saved_beyond(finding) is None:
        return None
    return 1.0 / (1.0 - finding.share)


def shares_of(budget: list[BudgetEntry]) -> dict[str, float]:
    """Return the share of each category."""
    return {entry.category: entry.share for entry in budget}
