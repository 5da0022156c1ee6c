"""The program's lines and functions by time, merged over their callers, from `by_code`."""

from collections.abc import Callable, Hashable, Iterator, Sequence

import pandas as pd

from perfscope.analyzer.diagnosis import CodeCost

COLUMNS = ("place", "function", "text", "phase", "thread", "self_s", "total_s", "share")


def hot_lines(costs: Sequence[CodeCost]) -> pd.DataFrame:
    """Return one row per line, phase and thread, the most time of its own first.

    Columns: place (`file:line`), function, text (the source line, "" where unknown), phase, thread,
    self_s, total_s (recursion counts once), share (total_s of the time of all costs).
    """
    return merged_costs(costs, lambda cost: (cost.file, cost.line, cost.function))


def hot_functions(costs: Sequence[CodeCost]) -> pd.DataFrame:
    """Return one row per function, phase and thread; the line is that with most time of its own."""
    return merged_costs(costs, lambda cost: (cost.file, cost.function))


def merged_costs(costs: Sequence[CodeCost], key_of: Callable[[CodeCost], Hashable]) -> pd.DataFrame:
    """Return the costs summed by key, phase and thread."""
    whole_s = sum(cost.total_s for cost in costs)
    sums: dict[Hashable, list[float]] = {}
    hottest: dict[Hashable, CodeCost] = {}
    for cost, is_outermost in every_cost(costs, key_of, frozenset()):
        key = (key_of(cost), cost.phase, cost.thread)
        self_s, total_s = sums.setdefault(key, [0.0, 0.0])
        sums[key] = [self_s + cost.self_s, total_s + (cost.total_s if is_outermost else 0.0)]
        if key not in hottest or cost.self_s > hottest[key].self_s:
            hottest[key] = cost
    rows = [
        {
            "place": f"{cost.file}:{cost.line}",
            "function": cost.function,
            "text": cost.text or "",
            "phase": cost.phase,
            "thread": cost.thread,
            "self_s": sums[key][0],
            "total_s": sums[key][1],
            "share": sums[key][1] / whole_s if whole_s else 0.0,
        }
        for key, cost in hottest.items()
    ]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    return found.sort_values(["self_s", "total_s"], ascending=False, ignore_index=True)


def every_cost(
    costs: Sequence[CodeCost],
    key_of: Callable[[CodeCost], Hashable],
    callers: frozenset[Hashable],
) -> Iterator[tuple[CodeCost, bool]]:
    """Yield every cost of the trees, and whether none of its callers has the same key."""
    for cost in costs:
        key = key_of(cost)
        yield cost, key not in callers
        yield from every_cost(cost.children, key_of, callers | {key})
