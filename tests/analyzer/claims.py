"""What a diagnosis claims, for tests of the numbers and names in it."""

from perfscope.analyzer.diagnosis import Diagnosis, Finding, Verdict


def claim(found: Finding | Verdict) -> str:
    """Return headline, explanation and caveat in one text."""
    return " ".join(filter(None, [found.headline, found.explanation, found.caveat]))


def budget_shares(diagnosis: Diagnosis) -> dict[str, float]:
    """Return the share of each category of the time budget, in hundredths."""
    return {entry.category: round(entry.share, 2) for entry in diagnosis.time_budget}
