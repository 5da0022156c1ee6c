"""The input pipeline of each rank: the consumer's time, the time of a fetch, and its parts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import steady_budget, time_budget
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.run.loops.steps import trainers
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.ranks.local_ranks import concurrent_processes
from perfscope.analyzer.run.ranks.ranks_in_step import longest_input_wait
from perfscope.analyzer.run.resources.cumulative_counters import WHOLE, grown_in
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, IO
from perfscope.analyzer.run.table_access import column, rows_of, table, uses_device
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import EMPTY, Spans, inside, merged
from perfscope.traces.trace import Trace

READS_DATA = 16_384
"""Bytes read from block devices per fetch below which a read is metadata or logging."""
PREFETCH = 2
"""Batches that each worker may be ahead where prefetch_factor is unknown: PyTorch's default."""
IDLE_PAUSE_QUANTILE = 0.25
"""The quantile of the pauses between fetches that a worker that is never idle would show."""

UNDISTURBED_QUANTILE = 0.01
"""The quantile of the steps without their waits that no other work on the cores delays."""


@dataclass(frozen=True)
class Fetch:
    """The loading of one batch, mean nanoseconds: wall = cpu + run_delay + io + waiting.

    `dataset` and `collate` divide wall too.
    """

    count: int
    wall: float
    dataset: float
    collate: float
    cpu: float
    run_delay: float
    io: float
    waiting: float
    """Off the CPU without I/O: network, locks, sleep."""
    read_bytes: float
    handover: float
    """From the end of a fetch to the start of the next in a busy worker: sending the batch."""
    samples: float
    """Samples per batch, 0 unknown."""


@dataclass(frozen=True)
class Pipeline:
    """The input of one rank, nanoseconds per steady step unless a field says otherwise.

    `fetch` is None where no fetch was recorded.
    """

    process: int
    rank: int
    steps: int
    step: float
    input_wait: float
    consumer: float
    """The step without waiting for input: what remains when batches are always ready."""
    fastest: float
    """The step without waiting for input where nothing else delays it: its first percentile."""
    loader_wait: float
    """The part of the input wait in a PyTorch loader."""
    received: float
    """CPU time of receiving ready batches."""
    ready_wait: float
    """Waiting although a batch was ready and no fetch ended meanwhile."""
    core_wait: float
    """The part of `ready_wait` that may be waiting for a core that loading does not fill."""
    restart: float
    """Starting iterators and their first batches, beyond a usual wait."""
    restarts: int
    persistent: bool
    """Whether the workers are kept from one iterator to the next."""
    iterable: bool
    """Whether the dataset is known to be iterable."""
    workers: int
    """Workers of the training loader, -1 where no PyTorch loader is used."""
    batches: float
    """Batches per step."""
    fetch: Fetch | None
    main_cpu: float
    """CPU time of the rank's own process."""
    main_delay: float
    """Run-queue delay of the loop's thread."""

    def needed(self, fetch_wall: float) -> float:
        """Return the worker nanoseconds per step when one batch takes `fetch_wall`."""
        return fetch_wall * self.batches


@dataclass(frozen=True)
class LoaderCalls:
    """The calls of a rank's training loop into its PyTorch loader, evaluation left out."""

    calls: pd.DataFrame | None
    """All calls of the loop's thread in its steady steps; None where the table is absent."""

    @cached_property
    def nexts(self) -> pd.DataFrame | None:
        """The calls that returned a batch."""
        if self.calls is None:
            return None
        is_next = (self.calls["kind"] == "next").to_numpy(bool) & (column(self.calls, "end") != 1)
        nexts: pd.DataFrame = self.calls[is_next]
        return nexts

    @property
    def workers(self) -> int:
        """The most workers of a loader that was asked, -1 where none was."""
        nexts = self.nexts
        return int(nexts["workers"].max()) if nexts is not None and len(nexts) else -1

    def all_are(self, flag: str) -> bool:
        """Return whether every loader that was asked is known to be `persistent` or `iterable`."""
        nexts = self.nexts
        return nexts is not None and len(nexts) > 0 and bool((nexts[flag] == 1).all())

    @property
    def total_ns(self) -> float:
        """The time of all calls."""
        return 0.0 if self.calls is None else float(column(self.calls, "dur").sum())


def input_pipelines(trace: Trace) -> list[Pipeline]:
    """Return one Pipeline per rank that has steady steps, in rank order."""
    pipelines = []
    for process, rank in trainers(trace):
        rows = fact_rows(trace, steady_budget, process)
        if len(rows):
            pipelines.append(pipeline_of_rank(trace, process, rank, rows))
    return pipelines


def pipeline_of_rank(trace: Trace, process: int, rank: int, rows: pd.DataFrame) -> Pipeline:
    """Return the pipeline of one rank, from its steady steps."""
    begin, dur = column(rows, "ts"), column(rows, "dur")
    end = begin + dur + column(rows, "cut")
    loop, count, step = merged((begin, end)), len(rows), float(dur.mean())
    tid = int(rows["tid"].mode().iloc[0])
    evaluation = evaluation_spans(trace, process)
    loader = loader_calls(trace, process, tid, loop, evaluation)
    fetches = fetches_of(trace, process, int(begin.min()), int(end.max()), evaluation)
    fetch = None if fetches is None else mean_fetch(trace, fetches)
    nexts, workers = loader.nexts, loader.workers
    batches = len(nexts) / count if nexts is not None and len(nexts) else 1.0
    received = ready_wait = core_wait = 0.0
    if nexts is not None and workers > 0:
        received = receive_cpu_ns(nexts) / count
        ready_wait = ready_wait_ns(nexts, fetches) / count
    delay = (grown_in(trace, "run_delay_ns", process, tid, loop) or 0.0) / count
    if fetch is not None and others_fill_cores(trace, process, fetch.cpu * batches / step):
        core_wait = min(max(ready_wait - received, 0.0), delay)
    restart_ns, restarts = restart_cost(loader.calls)
    waited = column(rows, INPUT_WAIT)
    exposed = exposed_part(trace, float(waited.sum()), loader.total_ns)
    peers = longest_input_wait(trace, process, begin, end)
    without_wait = float((dur - np.maximum(waited, peers)).mean())
    return Pipeline(
        process=process,
        rank=rank,
        steps=count,
        step=step,
        input_wait=float(waited.mean()),
        consumer=min(without_wait + received * exposed, step),
        fastest=float(np.quantile(dur - waited, UNDISTURBED_QUANTILE)),
        loader_wait=loader.total_ns / count * exposed,
        received=received * exposed,
        ready_wait=ready_wait * exposed,
        core_wait=core_wait * exposed,
        restart=restart_ns / count * exposed,
        restarts=restarts,
        persistent=loader.all_are("persistent"),
        iterable=loader.all_are("iterable"),
        workers=workers,
        batches=batches,
        fetch=fetch,
        main_cpu=(grown_in(trace, "cpu_ns", process, WHOLE, loop) or 0.0) / count,
        main_delay=delay,
    )


def exposed_part(trace: Trace, waited_ns: float, in_loader_ns: float) -> float:
    """Return the share of the calls into the loader in which nothing else happens, 0..1.

    On a device it is the part in which the device is idle, which is the input wait.
    """
    if not uses_device(trace) or in_loader_ns <= waited_ns:
        return 1.0
    return waited_ns / in_loader_ns


def loader_calls(
    trace: Trace, process: int, tid: int, loop: Spans, evaluation: Spans
) -> LoaderCalls:
    """Return the calls into the loader that a thread makes within `loop` and not in evaluation."""
    calls = rows_of(trace, "loader", process)
    if calls is None:
        return LoaderCalls(None)
    ts = column(calls, "ts")
    training = inside(loop, ts) & ~inside(evaluation, ts)
    return LoaderCalls(calls[(column(calls, "tid") == tid) & training])


def others_fill_cores(trace: Trace, process: int, loading_cores: float) -> bool:
    """Return whether loading keeps less than half of the job's busy cores busy.

    `loading_cores` are the cores that loading keeps busy on each rank.
    """
    load = trace.fact(host_load)
    if load.tree_cores is None:
        return False
    return loading_cores * len(concurrent_processes(trace, process)) < 0.5 * load.tree_cores


def evaluation_spans(trace: Trace, process: int) -> Spans:
    """Return when a rank evaluates."""
    budget = fact_rows(trace, time_budget, process)
    is_eval = (budget["phase"] == "eval").to_numpy(bool)
    return spans_of(budget[is_eval]) if is_eval.any() else EMPTY


def fetches_of(
    trace: Trace, process: int, begin: int, end: int, evaluation: Spans
) -> pd.DataFrame | None:
    """Return the fetches for one rank's training between two instants, None without any.

    They are made by its worker processes or by the rank. Workers that fetch mostly while the rank
    evaluates belong to the evaluation's loader.
    """
    frame = table(trace, "fetches")
    if frame is None:
        return None
    loading = frame["process"].isin([process, *child_processes(trace, process)])
    within = (frame["ts"] >= begin) & (frame["ts"] + frame["dur"] <= end)
    rows = frame[loading & within]
    if len(evaluation[0]) and len(rows):
        during = pd.Series(inside(evaluation, column(rows, "ts")), index=rows.index)
        mostly = during.groupby(rows["process"]).transform("mean") > 0.5
        in_process = rows["worker"] == -1
        rows = rows[~((mostly & ~in_process) | (during & in_process))]
    return rows if len(rows) else None


def child_processes(trace: Trace, process: int) -> list[int]:
    """Return the children of a rank, and the workers that Python's fork server forked for it."""
    processes = table(trace, "processes")
    if processes is None:
        return []
    children = processes[processes["parent"] == process]
    servers = children.loc[children["role"] == "other", "process"]
    forked = processes[processes["parent"].isin(servers) & (processes["role"] == "loader-worker")]
    return [int(code) for code in (*children["process"], *forked["process"])]


def mean_fetch(trace: Trace, rows: pd.DataFrame) -> Fetch:
    """Return the mean of these fetches, its time off the CPU divided by what samples show."""
    wall = float(rows["dur"].mean())
    cpu = min(float(rows["cpu_ns"].mean()), wall)
    delay = min(known_mean(rows, "run_delay_ns"), wall - cpu)
    read = known_mean(rows, "read_bytes")
    off_cpu = max(wall - cpu - delay, 0.0)
    io_share = sampled_io_share(trace, rows)
    if io_share is None:  # without samples reads from a device are the evidence
        reads = read >= READS_DATA or known_mean(rows, "major_faults") >= 1.0
        io_share = 1.0 if reads else 0.0
    return Fetch(
        count=len(rows),
        wall=wall,
        dataset=float(rows["dataset_ns"].mean()),
        collate=float(rows["collate_ns"].mean()),
        cpu=cpu,
        run_delay=delay,
        io=off_cpu * io_share,
        waiting=off_cpu * (1.0 - io_share),
        read_bytes=read,
        handover=pause_of_busy_worker(rows),
        samples=known_mean(rows, "samples"),
    )


def known_mean(rows: pd.DataFrame, name: str) -> float:
    """Return the mean of the values that were read (-1 is none), 0 without any."""
    values = column(rows, name)
    values = values[values >= 0]
    return float(values.mean()) if len(values) else 0.0


def sampled_io_share(trace: Trace, rows: pd.DataFrame) -> float | None:
    """Return the share of file or disk I/O among the samples of fetches off the CPU.

    Samples that wait for the GIL are left out. None with too few samples.
    """
    states = table(trace, "thread_states")
    if states is None:
        return None
    in_io = off_cpu = 0
    for process, fetches in rows.groupby("process"):
        tid = int(fetches["tid"].mode().iloc[0])
        samples = states[(states["process"] == process) & (states["tid"] == tid)]
        fetching = inside(spans_of(fetches), column(samples, "ts"))
        names = samples.loc[fetching, "state"].astype(str)
        waiting = names[~names.isin(("running", "gil"))]
        in_io += int(waiting.isin(IO).sum())
        off_cpu += len(waiting)
    return in_io / off_cpu if off_cpu >= FEWEST_SAMPLES else None


def pause_of_busy_worker(rows: pd.DataFrame) -> float:
    """Return the lower quartile of the pauses between two fetches of one worker, in ns.

    It is the pause that remains when the worker is never idle.
    """
    pauses = []
    for _, fetches in rows[rows["worker"] >= 0].sort_values("ts").groupby("process"):
        ts, dur = column(fetches, "ts"), column(fetches, "dur")
        pauses.append(ts[1:] - (ts + dur)[:-1])
    lengths = np.concatenate(pauses) if pauses else np.empty(0)
    return max(float(np.quantile(lengths, IDLE_PAUSE_QUANTILE)), 0.0) if len(lengths) else 0.0


def receive_cpu_ns(nexts: pd.DataFrame) -> float:
    """Return the CPU time of all calls, from those in which it was read."""
    before, after = column(nexts, "cpu_before_ns"), column(nexts, "cpu_after_ns")
    known = (before >= 0) & (after >= before)
    if not known.any():
        return 0.0
    spent = np.minimum(after - before, column(nexts, "dur"))[known]
    return float(spent.mean()) * len(nexts)


def ready_wait_ns(nexts: pd.DataFrame, fetches: pd.DataFrame | None) -> float:
    """Return the time of waits that began with the wanted batch ready.

    Batches come in order, worker by worker, each up to its prefetch_factor ahead: with more ready
    than the other workers can have loaded, the wanted one is among them. With fewer, a wait in
    which a fetch ends may have been for that very batch, so only what follows the last such end
    counts.
    """
    ready = nexts[nexts["queue_depth"] > 0]
    begin, end = column(ready, "ts"), column(ready, "ts") + column(ready, "dur")
    if fetches is not None and len(begin):
        fetched = np.sort(column(fetches, "ts") + column(fetches, "dur"))
        last = np.searchsorted(fetched, end) - 1
        prefetch = column(ready, "prefetch")
        ahead = np.where(prefetch > 0, prefetch, PREFETCH)
        certain = column(ready, "queue_depth") > ahead * (column(ready, "workers") - 1)
        uncertain = (last >= 0) & ~certain
        begin = np.maximum(begin, np.where(uncertain, fetched[np.maximum(last, 0)], begin))
    return float(np.maximum(end - begin, 0).sum())


def restart_cost(calls: pd.DataFrame | None) -> tuple[float, int]:
    """Return the total ns for ending and starting iterators, and how many were started.

    First batches count with what they take beyond a usual wait. Each worker starts on its own, so
    the first batch of each is late.
    """
    if calls is None or not len(calls):
        return 0.0, 0
    dur, iterator = column(calls, "dur"), column(calls, "iterator")
    starts = calls["kind"].to_numpy(str) == "start"
    ended = column(calls, "end") == 1
    late = max(int(column(calls, "workers").max()), 1)
    first = np.zeros(len(calls), bool)
    for code in np.unique(iterator[starts]):
        batches = np.flatnonzero((iterator == code) & ~starts & ~ended)
        first[batches[:late]] = True
    usual = dur[~starts & ~first & ~ended]
    usual_wait = float(np.median(usual)) if len(usual) else 0.0
    beyond = np.maximum(dur[first] - usual_wait, 0.0).sum()
    return float(dur[starts | ended].sum() + beyond), int(starts.sum())
