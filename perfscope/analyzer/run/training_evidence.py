"""Whether a process trains: advice about gradients and activations needs to know."""

from dataclasses import dataclass

from perfscope.analyzer.number_text import plural
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.loops.trace_steps import TRAINS
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.traces.trace import Trace

TRAINING_PHASES = ("train", "warmup")


@dataclass(frozen=True)
class TrainingEvidence:
    """Whether backward passes or optimizer steps of a process were recorded, and how many."""

    trains: bool
    text: str


def training_evidence(trace: Trace, process: int) -> TrainingEvidence:
    """Return what shows that `process` trains; without any sign of it `trains` is false."""
    ranges = rows_of_category(rows_of(trace, "ranges", process), "backward", "optimizer")
    calls = 0 if ranges is None else len(ranges)
    calls += sum(count_training_names(trace, name, process) for name in ("ops", "ranges"))
    if calls:
        return TrainingEvidence(True, f"{plural(float(calls), 'call')} of backward or optimizer")
    rows = trace.fact(steps)
    trained = int(((rows["process"] == process) & rows["phase"].isin(TRAINING_PHASES)).sum())
    if trained:
        return TrainingEvidence(True, plural(float(trained), "training step"))
    return TrainingEvidence(False, "no backward pass and no optimizer step was recorded")


def count_training_names(trace: Trace, table_name: str, process: int) -> int:
    """Return how many rows of a table are named like a backward pass or an optimizer step."""
    frame = table(trace, table_name)
    if frame is None:
        return 0
    rows = frame[column(frame, "process") == process]
    matching = [name for name in rows["name"].cat.categories if TRAINS.search(name)]
    return int(rows["name"].isin(matching).sum())
