"""Stack samples summed into a tree: the time under each frame."""

from dataclasses import dataclass

import pandas as pd

from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Node:
    """A frame below its callers.

    `path` are the frames down to it, `parent` those down to its caller ("" at the top), `weight_s`
    its time with callees.
    """

    path: str
    parent: str
    frame: str
    weight_s: float


def stack_tree(trace: Trace) -> dict[str, list[Node]]:
    """Return the nodes by role of the process (main, loader-worker), callers before callees.

    Empty without stack samples.
    """
    return {role: stack_nodes(rows) for role, rows in stacks_of_roles(trace).items()}


def inverted_stack_tree(trace: Trace) -> dict[str, list[Node]]:
    """Return the nodes by role with the running function at the top, and its callers below it."""
    return {
        role: stack_nodes(rows.assign(stack=rows["stack"].astype(str).map(reversed_stack)))
        for role, rows in stacks_of_roles(trace).items()
    }


def reversed_stack(stack: str) -> str:
    """Return the frames of a stack in reverse order."""
    return ";".join(reversed(stack.split(";")))


def stacks_of_roles(trace: Trace) -> dict[str, pd.DataFrame]:
    """Return the samples by role of the process.

    For a main process only its main thread counts: sleeping helper threads would hide it.
    """
    stacks, processes = table(trace, "stacks"), table(trace, "processes")
    if stacks is None or processes is None:
        return {}
    found = {}
    for role in ("main", "loader-worker"):
        of_role = processes[processes["role"] == role]
        mains = set(zip(of_role["process"], of_role["ns_pid"], strict=True))
        pairs = zip(stacks["process"], stacks["tid"], strict=True)
        rows = stacks[[pair in mains for pair in pairs]]
        if not len(rows):
            rows = stacks[stacks["process"].isin(of_role["process"])]
        if len(rows):
            found[role] = rows
    return found


def stack_nodes(rows: pd.DataFrame) -> list[Node]:
    """Return the tree of these samples."""
    weights: dict[str, float] = {}
    for stack, weight in rows.groupby(rows["stack"].astype(str))["weight_ns"].sum().items():
        frames = str(stack).split(";")
        for depth in range(1, len(frames) + 1):
            path = ";".join(frames[:depth])
            weights[path] = weights.get(path, 0.0) + float(weight) / 1e9
    ordered = sorted(weights, key=lambda path: path.count(";"))
    nodes = []
    for path in ordered:
        parent, _, frame = path.rpartition(";")
        nodes.append(Node(path, parent, frame, weights[path]))
    return nodes
