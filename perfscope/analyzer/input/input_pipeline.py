"""The input pipeline of each rank: what the consumer needs, what a batch costs to make, and where
that goes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import steady_budget, time_budget
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.run.cumulative_counters import WHOLE, grown_in
from perfscope.analyzer.run.host_load import host_load
from perfscope.analyzer.run.local_ranks import mates
from perfscope.analyzer.run.ranks_in_step import longest_input_wait
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES, IO
from perfscope.analyzer.run.steps import trainers
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, inside, merged
from perfscope.traces.trace import Trace

# Bytes read from block devices per fetch below which a read is metadata or logging, not the data
# set.
READS_DATA = 16_384
# Batches that each worker may be ahead where the loader does not tell its prefetch_factor:
# PyTorch's default.
PREFETCH = 2


@dataclass(frozen=True)
class Fetch:
    """Making one batch, mean nanoseconds: wall = cpu + run_delay + io + waiting. dataset and
    collate split wall too.
    """

    count: int
    wall: float
    dataset: float
    collate: float
    cpu: float
    run_delay: float
    io: float
    waiting: float  # off the CPU, no I/O seen: network, locks, sleep
    read_bytes: float
    # from the end of one fetch to the start of the next in a busy worker: sending the batch on
    handover: float


@dataclass(frozen=True)
class Pipeline:
    """One rank, nanoseconds per steady step unless said; `fetch` None when no fetch was seen."""

    process: int
    rank: int
    steps: int
    step: float
    input_wait: float
    consumer: (
        float  # the step without waiting for input: what is left when batches are always ready
    )
    loader_wait: float  # the part of input-wait in a PyTorch loader
    received: float  # CPU time of taking a ready batch over
    ready_wait: (
        float  # waiting although a batch lay ready and no fetch ended meanwhile: handing it over
    )
    core_wait: (
        float  # of ready_wait what may be waiting for a core that making batches does not fill
    )
    restart: float  # building iterators and their first batch, beyond a usual wait
    restarts: int
    workers: int  # of the training loader, -1 when no PyTorch loader is asked
    batches: float  # batches per step
    fetch: Fetch | None
    main_cpu: float  # CPU time of the rank's own process
    main_delay: float  # run-queue delay of the loop's thread

    def needed(self, fetch_wall: float) -> float:
        """Worker nanoseconds per step when one batch takes `fetch_wall`."""
        return fetch_wall * self.batches


def input_pipelines(trace: Trace) -> list[Pipeline]:
    """One Pipeline per rank that has steady steps, in rank order."""
    budget = trace.fact(steady_budget)
    return [
        _of_rank(trace, process, rank, rows)
        for process, rank in trainers(trace)
        if len(rows := budget[budget["process"] == process])
    ]


def _of_rank(trace: Trace, process: int, rank: int, rows: pd.DataFrame) -> Pipeline:
    begin, dur = column(rows, "ts"), column(rows, "dur")
    end = begin + dur + column(rows, "cut")
    count = len(rows)
    loop = merged((begin, end))
    tid = int(rows["tid"].mode().iloc[0])
    asked = rows_of(trace, "loader", process)
    asked = (
        None if asked is None else asked[(asked["tid"] == tid) & inside(loop, column(asked, "ts"))]
    )
    evals = _evaluation(trace, process)
    asked = None if asked is None else asked[~inside(evals, column(asked, "ts"))]
    nexts = None if asked is None else asked[(asked["kind"] == "next") & (asked["end"] != 1)]
    fetches = fetches_of(trace, process, int(begin.min()), int(end.max()), evals)
    workers = int(nexts["workers"].max()) if nexts is not None and len(nexts) else -1
    received = _received(nexts) / count if workers > 0 else 0.0
    restart, restarts = _restarts(asked)
    delay = (grown_in(trace, "run_delay_ns", process, tid, loop) or 0.0) / count
    waited = column(rows, INPUT_WAIT)
    peers = longest_input_wait(trace, process, begin, end)
    fetch = _fetch(trace, fetches)
    batches = len(nexts) / count if nexts is not None and len(nexts) else 1.0
    ready_wait = _ready_waits(nexts, fetches) / count if workers > 0 else 0.0
    crowded = fetch is not None and _others_fill_cores(
        trace, process, fetch.cpu * batches / float(dur.mean())
    )
    consumer = min(float((dur - np.maximum(waited, peers)).mean()) + received, float(dur.mean()))
    return Pipeline(
        process=process,
        rank=rank,
        steps=count,
        step=float(dur.mean()),
        input_wait=float(waited.mean()),
        consumer=consumer,
        loader_wait=0.0 if asked is None else float(column(asked, "dur").sum()) / count,
        received=received,
        ready_wait=ready_wait,
        core_wait=min(max(ready_wait - received, 0.0), delay) if crowded else 0.0,
        restart=restart / count,
        restarts=restarts,
        workers=workers,
        batches=batches,
        fetch=fetch,
        main_cpu=(grown_in(trace, "cpu_ns", process, WHOLE, loop) or 0.0) / count,
        main_delay=delay,
    )


def _others_fill_cores(trace: Trace, process: int, making: float) -> bool:
    """Is making batches (cores of each rank) the smaller part of what keeps the job's cores
    busy?
    """
    load = trace.fact(host_load)
    return (
        load.tree_cores is not None and making * len(mates(trace, process)) < 0.5 * load.tree_cores
    )


def _evaluation(trace: Trace, process: int) -> tuple[Ints, Ints]:
    budget = trace.fact(time_budget)
    return spans_of(budget[(budget["process"] == process) & (budget["phase"] == "eval")])


def fetches_of(
    trace: Trace, process: int, begin: int, end: int, evals: tuple[Ints, Ints]
) -> pd.DataFrame | None:
    """Fetches for one rank's training: by its worker processes or itself, between two instants;
    None when none was seen.

    Workers that fetch mostly while the rank evaluates belong to the evaluation's loader.
    """
    frame = table(trace, "fetches")
    if frame is None:
        return None
    own = [process, *_started_by(trace, process)]
    rows = frame[
        frame["process"].isin(own) & (frame["ts"] >= begin) & (frame["ts"] + frame["dur"] <= end)
    ]
    if len(evals[0]) and len(rows):
        during = pd.Series(inside(evals, column(rows, "ts")), index=rows.index)
        mostly = during.groupby(rows["process"]).transform("mean") > 0.5
        in_process = rows["worker"] == -1
        rows = rows[~((mostly & ~in_process) | (during & in_process))]
    return rows if len(rows) else None


def _started_by(trace: Trace, process: int) -> list[int]:
    """The children of a rank, and those that a helper of Python's (its fork server) forked for
    it.
    """
    processes = table(trace, "processes")
    if processes is None:
        return []
    children = processes[processes["parent"] == process]
    helpers = children.loc[children["role"] == "other", "process"]
    forked = processes[processes["parent"].isin(helpers) & (processes["role"] == "loader-worker")]
    return [int(code) for code in (*children["process"], *forked["process"])]


def _fetch(trace: Trace, rows: pd.DataFrame | None) -> Fetch | None:
    if rows is None:
        return None
    wall = float(rows["dur"].mean())
    cpu = min(float(rows["cpu_ns"].mean()), wall)
    delay = min(_known_mean(rows, "run_delay_ns"), wall - cpu)
    read = _known_mean(rows, "read_bytes")
    off = max(wall - cpu - delay, 0.0)
    share = _io_share(trace, rows)
    if share is None:  # no samples: reads from a device are the evidence that is left
        share = 1.0 if read >= READS_DATA or _known_mean(rows, "major_faults") >= 1.0 else 0.0
    return Fetch(
        count=len(rows),
        wall=wall,
        dataset=float(rows["dataset_ns"].mean()),
        collate=float(rows["collate_ns"].mean()),
        cpu=cpu,
        run_delay=delay,
        io=off * share,
        waiting=off * (1.0 - share),
        read_bytes=read,
        handover=_handover(rows),
    )


def _known_mean(rows: pd.DataFrame, name: str) -> float:
    """Mean of the readings there are (-1 is none), 0 without any."""
    values = column(rows, name)
    values = values[values >= 0]
    return float(values.mean()) if len(values) else 0.0


def _io_share(trace: Trace, rows: pd.DataFrame) -> float | None:
    """Of the samples in which a fetching thread was off the CPU by its own doing: the share in file
    or disk I/O.
    """
    states = table(trace, "thread_states")
    if states is None:
        return None
    blocked = everything = 0
    for process, part in rows.groupby("process"):
        tid = int(part["tid"].mode().iloc[0])
        seen = states[(states["process"] == process) & (states["tid"] == tid)]
        names = seen.loc[inside(spans_of(part), column(seen, "ts")), "state"].astype(str)
        off = names[~names.isin(("running", "gil"))]
        blocked += int(off.isin(IO).sum())
        everything += len(off)
    return blocked / everything if everything >= FEWEST_SAMPLES else None


def _handover(rows: pd.DataFrame) -> float:
    """Lower quartile of the pause between two fetches of one worker: what is left of it when the
    worker is never idle.
    """
    pauses = []
    for _, part in rows[rows["worker"] >= 0].sort_values("ts").groupby("process"):
        ts, dur = column(part, "ts"), column(part, "dur")
        pauses.append(ts[1:] - (ts + dur)[:-1])
    every = np.concatenate(pauses) if pauses else np.empty(0)
    return max(float(np.quantile(every, 0.25)), 0.0) if len(every) else 0.0


def _received(nexts: pd.DataFrame | None) -> float:
    if nexts is None:
        return 0.0
    before, after = column(nexts, "cpu_before_ns"), column(nexts, "cpu_after_ns")
    known = (before >= 0) & (after >= before)
    if not known.any():
        return 0.0
    spent = np.minimum(after - before, column(nexts, "dur"))[known]
    return float(spent.mean()) * len(nexts)


def _ready_waits(nexts: pd.DataFrame | None, fetches: pd.DataFrame | None) -> float:
    """Nanoseconds of waits that began with the wanted batch ready.

    Batches come in order, worker by worker, each up to its prefetch_factor ahead: with more ready
    than the other workers can have made the wanted one is among them. With fewer, a wait in which a
    fetch ends may have been for that very batch, so only what follows the last such end counts.
    """
    if nexts is None:
        return 0.0
    ready = nexts[nexts["queue_depth"] > 0]
    begin, end = column(ready, "ts"), column(ready, "ts") + column(ready, "dur")
    if fetches is not None and len(begin):
        done = np.sort(column(fetches, "ts") + column(fetches, "dur"))
        before = np.searchsorted(done, end) - 1
        told = column(ready, "prefetch")
        ahead = np.where(told > 0, told, PREFETCH)
        sure = column(ready, "queue_depth") > ahead * (column(ready, "workers") - 1)
        begin = np.maximum(
            begin, np.where((before >= 0) & ~sure, done[np.maximum(before, 0)], begin)
        )
    return float(np.maximum(end - begin, 0).sum())


def _restarts(asked: pd.DataFrame | None) -> tuple[float, int]:
    """(nanoseconds spent on ending and building iterators and their first batches, beyond usual
    waits; how many).
    """
    if asked is None or not len(asked):
        return 0.0, 0
    kind, dur, iterator = (
        asked["kind"].to_numpy(str),
        column(asked, "dur"),
        column(asked, "iterator"),
    )
    starts = kind == "start"
    first = np.zeros(len(asked), bool)
    ended = column(asked, "end") == 1
    # Each worker starts by itself, so the first batch of each comes late; closing down the old ones
    # is part of it.
    late = max(int(column(asked, "workers").max()), 1)
    for code in np.unique(iterator[starts]):
        rows = np.flatnonzero((iterator == code) & ~starts & ~ended)
        first[rows[:late]] = True
    usual = dur[~starts & ~first & ~ended]
    wait = float(np.median(usual)) if len(usual) else 0.0
    spent = dur[starts | ended].sum() + np.maximum(dur[first] - wait, 0.0).sum()
    return float(spent), int(starts.sum())
