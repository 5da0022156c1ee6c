"""The color that marks a verdict or a finding.

It is not in the theme, because the list of findings needs pandas.
"""

from perfscope.analyzer.categories import DEVICE_COMPUTE, HOST_BOUND, OTHER_IDLE
from perfscope.analyzer.findings import RULES

WITHOUT_RULE = {"healthy": DEVICE_COMPUTE, "unknown": OTHER_IDLE}


def color_category(verdict: str) -> str:
    """Return the category whose color marks this verdict or finding.

    Of a finding that is that of the time that it costs, of a general answer that of the host.
    """
    rule = RULES.get(verdict)
    if rule is None:
        return WITHOUT_RULE.get(verdict, HOST_BOUND)
    return rule.color or rule.category or HOST_BOUND


def neutral_color() -> str:
    """Return the category whose color marks what is not certain."""
    return OTHER_IDLE
