"""The color that marks a verdict or a finding.

It is not in the theme, because the list of findings needs pandas.
"""

from perfscope.analyzer.categories import CATEGORY, DEVICE_COMPUTE, HOST_BOUND, OTHER_IDLE
from perfscope.analyzer.findings import RULES

WITHOUT_RULE = {"healthy": DEVICE_COMPUTE, "unknown": OTHER_IDLE}


def color_category(verdict: str) -> str:
    """Return the category whose color marks this verdict or finding.

    It is the category of the time that it costs, else that of the host.
    """
    rule = RULES.get(verdict)
    category = WITHOUT_RULE.get(verdict) if rule is None else rule.category
    return category if category in CATEGORY else HOST_BOUND
