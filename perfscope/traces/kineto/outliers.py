"""Removes events at impossible instants from groups of events."""

from perfscope.traces.kineto.assemble import EventGroup
from perfscope.traces.outliers import find_outliers


def groups_without_outliers(
    groups: dict[str, EventGroup],
) -> tuple[dict[str, EventGroup], int]:
    """Return the groups without events that are far from all others, and how many were removed."""
    outliers = find_outliers([group.numbers("ts") for group in groups.values()])
    if outliers is None:
        return groups, 0
    cleaned = dict(groups)
    for name, group in groups.items():
        if len(group):
            cleaned[name] = group.where(~outliers.contain(group.numbers("ts")))
    return cleaned, outliers.count
