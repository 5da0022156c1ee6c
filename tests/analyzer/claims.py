"""What a finding or a verdict claims, for tests of the numbers and names in it."""

from perfscope.analyzer.diagnosis import Finding, Verdict


def claim(found: Finding | Verdict) -> str:
    """Return headline, explanation and caveat in one text."""
    return " ".join(filter(None, [found.headline, found.explanation, found.caveat]))
