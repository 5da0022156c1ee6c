"""Which of the traces read are the parts of one job, and which rank each is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from perfscope.errors import UsageError
from perfscope.traces.naming import RANK_IN_NAME, path_text
from perfscope.traces.trace import Trace

# Clocks of hosts in one job differ by seconds at the very most; traces an hour apart are not of one
# job.
APART_NS = 3_600_000_000_000
# Later than September 2001 when counted from 1970; time since a host's start is not comparable.
SINCE_1970_NS = 1_000_000_000_000_000_000


@dataclass
class Recording:
    """One member as it was read; `rank` None where neither the trace nor its name says it (or it
    holds several).
    """

    path: Path
    named: bool
    trace: Trace
    rank: int | None
    world_size: int

    @property
    def span_ns(self) -> tuple[int, int]:
        """On its host's wall clock."""
        zero_ns = self.trace.manifest.zero_realtime_ns
        return self.trace.span_ns[0] + zero_ns, self.trace.span_ns[1] + zero_ns

    @property
    def of_ours(self) -> bool:
        """A run folder, which says its job and may hold several ranks."""
        return self.trace.manifest.depth != "trace"


@dataclass
class Chosen:
    """The parts of the job in order of rank, and what was left out or assumed, a line each."""

    parts: list[Recording]
    left_out: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def recording(path: Path, named: bool, trace: Trace) -> Recording:
    """A trace and what it says of its rank."""
    ranks = trace.table("ranks")
    if ranks is None or len(ranks) != 1:
        return Recording(path, named, trace, None, -1)
    world = int(ranks["world_size"].iloc[0])
    said = world >= 0 or RANK_IN_NAME.search(path.name) is not None
    return Recording(path, named, trace, int(ranks["rank"].iloc[0]) if said else None, world)


def chosen(recordings: Sequence[Recording]) -> Chosen:
    """The parts of one job. Raises UsageError, which says what to do, when they are not of one.

    Of several recordings of one rank the newest is taken where a folder was named; naming them is
    refused.
    """
    ours = [one for one in recordings if one.of_ours]
    if ours:
        if len(ours) < len(recordings):
            other = next(one for one in recordings if not one.of_ours)
            raise UsageError(
                f"{ours[0].path} is a run folder and {other.path} a trace: analyze them one by one"
            )
        return of_run_folders(ours)
    return of_traces(recordings)


def of_run_folders(runs: Sequence[Recording]) -> Chosen:
    """Parts of one job: the same job id, another host each."""
    first = runs[0].trace.manifest
    hosts: dict[tuple[str, str], Recording] = {}
    for run in runs:
        manifest = run.trace.manifest
        if manifest.job_id != first.job_id:
            raise UsageError(
                f"{runs[0].path} and {run.path} are of different jobs: analyze them one by one"
            )
        before = hosts.setdefault((manifest.host, manifest.boot_id), run)
        if before is not run:
            raise UsageError(
                f"{before.path} and {run.path} are both of host {manifest.host}, recorded apart:"
                " name one of them, or record the ranks of a host together (`perfscope attach PID"
                " --all-ranks`)"
            )
    return Chosen(list(runs))


def of_traces(traces: Sequence[Recording]) -> Chosen:
    """One recording for each rank."""
    worlds = {one.world_size: one for one in traces if one.world_size >= 0}
    if len(worlds) > 1:
        (a, first), (b, second) = sorted(worlds.items())[:2]
        raise UsageError(
            f"{first.path} is of a job of {a} ranks and {second.path} of one of {b}: analyze them"
            " one by one"
        )
    parts, left_out = newest(traces)
    together(parts)
    assumed = []
    unknown = [one for one in parts if one.rank is None]
    if unknown:
        number(parts)
        names = f"{path_text(unknown[0].path.name)} is rank {unknown[0].rank}"
        assumed.append(
            f"{len(unknown)} traces do not say their rank: numbered in the order of their names"
            f" ({names})"
        )
    parts.sort(key=lambda one: one.rank if one.rank is not None else -1)
    return Chosen(parts, left_out, assumed)


def newest(traces: Sequence[Recording]) -> tuple[list[Recording], list[str]]:
    """The newest recording of each rank, and a line on each that was left out.

    With them go recordings that were made beside one left out: they are of the older set.
    """
    counts = Counter(one.rank for one in traces if one.rank is not None)
    if not any(count > 1 for count in counts.values()):
        return list(traces), []
    for rank, count in counts.items():
        same = [one for one in traces if one.rank == rank]
        if count > 1 and sum(one.named for one in same) > 1:
            raise UsageError(
                f"{same[0].path} and {same[1].path} are both of rank {rank}: name one recording a"
                " rank"
            )
    latest = {
        one.rank: one for one in sorted(traces, key=lambda one: one.span_ns) if one.rank is not None
    }
    old = [one for one in traces if one.rank is not None and latest[one.rank] is not one]
    until_ns = max(one.span_ns[1] for one in old)
    stale = [one for one in traces if one not in old and one.span_ns[1] <= until_ns]
    if len(old) + len(stale) == len(
        traces
    ):  # the older ones reach beyond all others: their times tell no sets apart
        stale = []
    lines = [f"{path_text(one.path.name)}: an older recording of rank {one.rank}" for one in old]
    lines += [f"{path_text(one.path.name)}: recorded with the older ones" for one in stale]
    return [one for one in traces if one not in old and one not in stale], lines


def number(parts: Sequence[Recording]) -> None:
    """Give ranks to those without: the lowest free ones, in the order in which they were named."""
    taken = {one.rank for one in parts}
    free = (rank for rank in range(len(parts) + len(taken)) if rank not in taken)
    for one in parts:
        if one.rank is None:
            one.rank = next(free)


def together(parts: Sequence[Recording]) -> None:
    """Raises UsageError when two cannot be of one job: hours apart, or one after the other with
    nothing that ties them.
    """
    in_time = sorted(parts, key=lambda one: one.span_ns)
    for before, after in pairwise(in_time):
        gap_ns = after.span_ns[0] - before.span_ns[1]
        if gap_ns > APART_NS and before.span_ns[0] > SINCE_1970_NS:
            raise UsageError(
                f"{before.path} and {after.path} were recorded {gap_ns / 3.6e12:,.0f} hours apart:"
                " not one job; analyze them one by one"
            )
        untied = main_pid(before) == main_pid(after) or not all(
            one.trace.has("collectives") for one in (before, after)
        )
        if gap_ns > 0 and untied and None in (before.rank, after.rank):
            raise UsageError(
                f"{before.path} and {after.path} were recorded one after the other and do not say"
                " their ranks: analyze them one by one, or put `rank0`, `rank1` ... into their"
                " names"
            )


def main_pid(one: Recording) -> int:
    """The pid of the process that did the work."""
    processes = one.trace.table("processes")
    return -1 if processes is None or not len(processes) else int(processes["pid"].iloc[0])
