"""The recorded time by the program's own functions and lines: `by_code` of the answer."""

from perfscope.analyzer.budget.lines.unbiased_stacks import unbiased_stacks
from perfscope.analyzer.diagnosis import CodeCost, Interval
from perfscope.analyzer.run.phases.phase_intervals import phase_spans
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.stacks.code_tree import CodeNode, code_trees
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.traces.trace import Trace

MAIN = "main"


def code_costs(trace: Trace, process: int | None) -> list[CodeCost]:
    """Return the time of the main thread of `process`, as trees of the program's functions.

    Their self times sum to the recorded time: each sample stands for an equal share of it, by its
    weight. Empty with too few samples, or where no sample shows code of the program itself.
    """
    if process is None or trace.has_profiled_work:
        return []
    stacks = unbiased_stacks(trace, process)
    if len(stacks) < FEWEST_SAMPLES:
        return []
    sampled_ns = float(stacks["weight_ns"].sum())
    begin_ns, end_ns = recorded_span_ns(trace)
    trees = code_trees(stacks, phase_spans(trace, process).spans)
    if sampled_ns <= 0.0 or end_ns <= begin_ns:
        return []
    scale = CostScale(process, len(stacks), sampled_ns, (end_ns - begin_ns) / 1e9)
    costs = [cost for phase, root in trees.items() for cost in scale.costs_below(root, phase)]
    return sorted(costs, key=lambda cost: -cost.total_s)


class CostScale:
    """What one sample stands for: turns nodes into costs in seconds and shares."""

    def __init__(self, process: int, samples: int, sampled_ns: float, recorded_s: float) -> None:
        self.process, self.samples = process, samples
        self.sampled_ns, self.recorded_s = sampled_ns, recorded_s

    def costs_below(self, node: CodeNode, phase: str) -> list[CodeCost]:
        """Return the costs of the calls below a node, the most expensive first."""
        children = sorted(node.children.values(), key=lambda child: -child.total_ns)
        return [self.cost(child, phase) for child in children]

    def cost(self, node: CodeNode, phase: str) -> CodeCost:
        """Return the cost of a node with the calls below it."""
        share = node.total_ns / self.sampled_ns
        low, high = share_interval(share, self.samples)
        return CodeCost(
            function=node.frame.function,
            file=node.frame.file.removeprefix("./"),
            line=node.frame.line,
            text=None,
            process=self.process,
            thread=MAIN,
            phase=phase,
            self_s=round(node.self_ns / self.sampled_ns * self.recorded_s, 6),
            total_s=round(share * self.recorded_s, 6),
            share=Interval(low, share, high),
            children=self.costs_below(node, phase),
        )
