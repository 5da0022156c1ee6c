"""What the operators of each process compute, found for many small processes at once.

pandas takes milliseconds per process, whatever its number of operators, and a trace may have
thousands of processes.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from perfscope.analyzer.budget.cpu_communication import COLLECTIVE, rows_named
from perfscope.analyzer.budget.cpu_work import computing_spans
from perfscope.analyzer.run.process_rows import RowsByCode, rows_by_process
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints, Spans, merged
from perfscope.traces.trace import Trace

MOST_ROWS = 200_000
"""Of the processes that are computed together; more are computed alone, to bound the memory."""


@dataclass(frozen=True)
class ProcessComputing:
    """What operators of one process compute: begin and end in ns, and the row of `ops`.

    `spans` are those times without operators that ask for collectives, merged; `has_collectives`
    is whether there are such operators.
    """

    begin: Ints
    end: Ints
    row: Ints
    spans: Spans
    has_collectives: bool


NOTHING = ProcessComputing(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), merged(), False
)


@dataclass
class ComputedProcesses:
    """What is known so far: the processes of each batch, and what those of a batch compute."""

    batches: dict[int, list[int]] = field(default_factory=dict)
    """The batch of each process."""
    known: dict[int, ProcessComputing] = field(default_factory=dict)


def computing_of(trace: Trace, process: int) -> ProcessComputing:
    """Return what the operators of a process compute."""
    found, rows = trace.fact(computed_processes), rows_by_process(trace, "ops")
    if rows is None or process not in found.batches:
        return NOTHING
    if process not in found.known:
        found.known |= computing_of_batch(rows, found.batches[process])
    return found.known[process]


def computed_processes(trace: Trace) -> ComputedProcesses:
    """Return the batches of a trace, of which none is computed yet."""
    rows = rows_by_process(trace, "ops")
    found = ComputedProcesses()
    batch: list[int] = []
    count = 0
    for process, (begin, end) in ({} if rows is None else rows.edges).items():
        if batch and count + end - begin > MOST_ROWS:
            batch, count = [], 0
        batch.append(process)
        count += end - begin
        found.batches[process] = batch
    return found


def computing_of_batch(rows: RowsByCode, batch: list[int]) -> dict[int, ProcessComputing]:
    """Return what the operators of several processes compute."""
    first, last = rows.edges[batch[0]][0], rows.edges[batch[-1]][1]
    ops = rows.frame.iloc[first:last]
    if not ops.index.is_monotonic_increasing:
        ops = ops.sort_index()
    begin, end, place = computing_spans(ops)
    asks = rows_named(ops, lambda name: name.startswith(COLLECTIVE))
    process, row = column(ops, "process"), ops.index.to_numpy(np.int64)
    askers = set(process[asks].tolist())
    of_piece = process[place]
    order = np.argsort(of_piece, kind="stable")
    edges = np.searchsorted(of_piece[order], [*batch, batch[-1] + 1])
    found = {}
    for code, (low, high) in zip(batch, pairwise(edges.tolist()), strict=True):
        pieces = order[low:high]
        spans = pieces[~asks[place[pieces]]] if code in askers else pieces
        found[code] = ProcessComputing(
            begin[pieces],
            end[pieces],
            row[place[pieces]],
            merged((begin[spans], end[spans])),
            code in askers,
        )
    return found
