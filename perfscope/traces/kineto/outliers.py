"""Groups of events without those at impossible instants."""

from perfscope.traces.kineto.assemble import Group
from perfscope.traces.outliers import lonely


def within_reach(rows: dict[str, Group]) -> tuple[dict[str, Group], int]:
    """The groups without events that lie alone, and how many those are."""
    found = lonely([group.numbers("ts") for group in rows.values()])
    if found is None:
        return rows, 0
    near = {
        name: group.where(~found.holds(group.numbers("ts")))
        for name, group in rows.items()
        if len(group)
    }
    return {**rows, **near}, found.count
