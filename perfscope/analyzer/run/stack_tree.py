"""Stack samples summed into a tree: how much time stood under each frame."""

from dataclasses import dataclass

import pandas as pd

from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Node:
    """A frame under its callers: `path` is its place, `parent` that of its caller ("" at the top),
    `weight_s` with callees.
    """

    path: str
    parent: str
    frame: str
    weight_s: float


def stack_tree(trace: Trace) -> dict[str, list[Node]]:
    """Role of the process (main, loader-worker) -> nodes, callers before callees; empty without
    stack samples.

    For a main process only its main thread counts: helpers that sleep would bury it.
    """
    stacks, processes = table(trace, "stacks"), table(trace, "processes")
    if stacks is None or processes is None:
        return {}
    trees = {}
    for role in ("main", "loader-worker"):
        own = processes[processes["role"] == role]
        mains = set(zip(own["process"], own["ns_pid"], strict=True))
        pairs = zip(stacks["process"], stacks["tid"], strict=True)
        rows = stacks[[pair in mains for pair in pairs]]
        if not len(rows):
            rows = stacks[stacks["process"].isin(own["process"])]
        if len(rows):
            trees[role] = nodes(rows)
    return trees


def nodes(rows: pd.DataFrame) -> list[Node]:
    """The tree of these samples."""
    weights: dict[str, float] = {}
    for stack, weight in rows.groupby(rows["stack"].astype(str))["weight_ns"].sum().items():
        frames = str(stack).split(";")
        for depth in range(1, len(frames) + 1):
            path = ";".join(frames[:depth])
            weights[path] = weights.get(path, 0.0) + float(weight) / 1e9
    ordered = sorted(weights, key=lambda path: path.count(";"))
    return [
        Node(path, path.rpartition(";")[0], path.rpartition(";")[2], weights[path])
        for path in ordered
    ]
