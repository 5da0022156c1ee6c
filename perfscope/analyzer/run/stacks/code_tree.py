"""The time of a thread by the program's own functions and lines, from stack samples.

Frames of torch, the standard library and installed packages are folded into the program's call
above them, so that the tree has only lines that the user can change.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from perfscope.analyzer.run.phases.phase_intervals import OTHER
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.intervals import Ints, Spans, inside

SMALLEST_SHARE = 0.005
"""Of the thread's time: smaller calls are folded into their caller."""


@dataclass
class CodeNode:
    """A line of the program below its callers, and the time (ns) in it and below it."""

    frame: Frame
    total_ns: float = 0.0
    children: dict[Frame, "CodeNode"] = field(default_factory=dict)

    @property
    def self_ns(self) -> float:
        """The time outside of the kept calls of the program's own functions."""
        return max(self.total_ns - sum(child.total_ns for child in self.children.values()), 0.0)

    def add(self, path: Iterable[Frame], weight_ns: float) -> None:
        """Account for a sample in the calls `path`, outermost first."""
        node = self
        node.total_ns += weight_ns
        for frame in path:
            node = node.children.setdefault(frame, CodeNode(frame))
            node.total_ns += weight_ns

    def without_small(self, smallest_ns: float) -> "CodeNode":
        """Return this node without the calls below it that took less than `smallest_ns`."""
        kept = {
            frame: child.without_small(smallest_ns)
            for frame, child in self.children.items()
            if child.total_ns >= smallest_ns
        }
        return CodeNode(self.frame, self.total_ns, kept)


def code_trees(stacks: pd.DataFrame, phases: dict[str, Spans]) -> dict[str, CodeNode]:
    """Return a tree of one thread's stack samples for each of the disjoint phases.

    The root of a tree is the thread. Empty where no frame is the program's own.
    """
    texts, which = np.unique(stacks["stack"].astype(str).to_numpy(), return_inverse=True)
    paths = [program_frames(text) for text in texts]
    if not any(paths):
        return {}
    phase_of_sample = phases_at(stacks["ts"].to_numpy(np.int64), phases)
    weights = stacks["weight_ns"].to_numpy(np.float64)
    trees: dict[str, CodeNode] = {}
    for number, phase, weight_ns in zip(which, phase_of_sample, weights, strict=True):
        root = trees.setdefault(phase, CodeNode(Frame(phase, "", 0)))
        root.add(paths[number] or outermost(texts[number]), float(weight_ns))
    smallest_ns = SMALLEST_SHARE * float(weights.sum())
    for root in trees.values():
        for frame, node in root.children.items():
            root.children[frame] = node.without_small(smallest_ns)
    return trees


def phases_at(ts: Ints, phases: dict[str, Spans]) -> list[str]:
    """Return the phase of each instant, `other` outside of all phases."""
    found = np.full(len(ts), OTHER, object)
    for phase, spans in phases.items():
        found[inside(spans, ts)] = phase
    return [str(phase) for phase in found]


def outermost(stack: str) -> tuple[Frame, ...]:
    """Return the outermost frame of a stack."""
    return (parse_frame(stack.split(";", 1)[0]),)
