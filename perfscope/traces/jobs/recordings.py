"""Decides which of the traces that were read are the parts of one job, and which rank each is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from perfscope.errors import UsageError
from perfscope.traces.naming import RANK_IN_NAME, path_text
from perfscope.traces.trace import Trace

LONGEST_GAP_NS = 3_600_000_000_000
"""The clocks of the hosts of a job differ by seconds at most. Traces recorded an hour apart are of
different jobs.
"""
SINCE_1970_NS = 1_000_000_000_000_000_000
"""September 2001. Smaller times count from the start of a host, and cannot be compared."""


@dataclass
class MemberTrace:
    """A member of a job after it was read. `rank` is None where neither the trace nor its file name
    gives it, and for a run folder, which may hold several ranks.
    """

    path: Path
    named: bool
    """Whether the user gave its path."""
    trace: Trace
    rank: int | None
    world_size: int

    @classmethod
    def of_trace(cls, path: Path, named: bool, trace: Trace) -> "MemberTrace":
        """Return a trace with the rank that it or its file name gives."""
        ranks = trace.table("ranks")
        if ranks is None or len(ranks) != 1:
            return cls(path, named, trace, None, -1)
        world_size = int(ranks["world_size"].iloc[0])
        is_known = world_size >= 0 or RANK_IN_NAME.search(path.name) is not None
        rank = int(ranks["rank"].iloc[0]) if is_known else None
        return cls(path, named, trace, rank, world_size)

    @property
    def span_ns(self) -> tuple[int, int]:
        """The first and last instant, on the wall clock of its host."""
        zero_ns = self.trace.manifest.zero_realtime_ns
        return self.trace.span_ns[0] + zero_ns, self.trace.span_ns[1] + zero_ns

    @property
    def name(self) -> str:
        """The file name."""
        return path_text(self.path.name)


@dataclass
class JobParts:
    """The parts of a job in the order of their ranks, and one line for each member that was left
    out and for each assumption.
    """

    parts: list[MemberTrace]
    left_out: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def parts_of_job(read: Sequence[MemberTrace]) -> JobParts:
    """Return the parts of one job. Raises UsageError when the traces are not of one job.

    Where a folder holds several recordings of one rank, the newest is used. Giving the paths of
    several recordings of one rank is an error.
    """
    runs = [member for member in read if not member.trace.is_profiler_trace]
    traces = [member for member in read if member.trace.is_profiler_trace]
    if runs and traces:
        raise UsageError(
            f"{runs[0].path} is a run folder and {traces[0].path} a profiler trace. Analyze them"
            " separately."
        )
    return parts_from_run_folders(runs) if runs else parts_from_traces(traces)


def parts_from_run_folders(runs: Sequence[MemberTrace]) -> JobParts:
    """Return run folders as the parts of a job. They must have one job id and different hosts."""
    first = runs[0].trace.manifest
    by_host: dict[tuple[str, str], MemberTrace] = {}
    for run in runs:
        manifest = run.trace.manifest
        if manifest.job_id != first.job_id:
            raise UsageError(
                f"{runs[0].path} and {run.path} belong to different jobs. Analyze them separately."
            )
        same_host = by_host.setdefault((manifest.host, manifest.boot_id), run)
        if same_host is not run:
            raise UsageError(
                f"{same_host.path} and {run.path} are separate recordings of host {manifest.host}."
                " Analyze one of them, or record all ranks of a host together (`perfscope attach"
                " PID --all-ranks`)."
            )
    return JobParts(list(runs))


def parts_from_traces(traces: Sequence[MemberTrace]) -> JobParts:
    """Return profiler traces as the parts of a job, one per rank."""
    require_one_world_size(traces)
    traces, older_windows = newest_window_of_each_process(traces)
    parts, left_out = newest_of_each_rank(traces)
    left_out += older_windows
    require_one_job(parts)
    assumed = []
    unknown = [part for part in parts if part.rank is None]
    if unknown:
        number_unknown_ranks(parts)
        assumed.append(
            f"{len(unknown)} traces do not contain their rank: numbered in the order of their names"
            f" ({unknown[0].name} is rank {unknown[0].rank})"
        )
    parts.sort(key=lambda part: part.rank if part.rank is not None else -1)
    return JobParts(parts, left_out, assumed)


def require_one_world_size(traces: Sequence[MemberTrace]) -> None:
    """Raise UsageError for traces of jobs of different sizes."""
    by_size = {trace.world_size: trace for trace in traces if trace.world_size >= 0}
    if len(by_size) > 1:
        (size, first), (other_size, second) = sorted(by_size.items())[:2]
        raise UsageError(
            f"{first.path} is of a job with {size} ranks and {second.path} of one with"
            f" {other_size}. Analyze them separately."
        )


def newest_window_of_each_process(
    traces: Sequence[MemberTrace],
) -> tuple[list[MemberTrace], list[str]]:
    """Return the newest recording of each process without a rank, and one line per recording that
    was left out.

    A profiler writes a file per window: traces of one process of a host that do not overlap.
    """
    newest: dict[tuple[str, int], MemberTrace] = {}
    older: list[MemberTrace] = []
    for trace in sorted(traces, key=lambda trace: trace.span_ns):
        pid = main_pid(trace)
        if trace.rank is not None or pid < 0:
            continue
        process = (trace.trace.manifest.host, pid)
        earlier = newest.get(process)
        if earlier is not None and earlier.span_ns[1] <= trace.span_ns[0]:
            older.append(earlier)
        newest[process] = trace
    lines = [f"{trace.name}: an older window of process {main_pid(trace)}" for trace in older]
    return [trace for trace in traces if trace not in older], lines


def newest_of_each_rank(traces: Sequence[MemberTrace]) -> tuple[list[MemberTrace], list[str]]:
    """Return the newest recording of each rank, and one line per recording that was left out.

    A recording that ended before the last of the older ones belongs to the older set, and is left
    out as well. Raises UsageError if the user named several recordings of a rank.
    """
    counts = Counter(trace.rank for trace in traces if trace.rank is not None)
    repeated = [rank for rank, count in counts.items() if count > 1]
    if not repeated:
        return list(traces), []
    for rank in repeated:
        refuse_named_repeats([trace for trace in traces if trace.rank == rank])
    in_time = sorted(traces, key=lambda trace: trace.span_ns)
    latest = {trace.rank: trace for trace in in_time}  # a later one replaces an earlier one
    older = [
        trace for trace in traces if trace.rank is not None and latest[trace.rank] is not trace
    ]
    older_until_ns = max(trace.span_ns[1] for trace in older)
    same_set = [
        trace for trace in traces if trace not in older and trace.span_ns[1] <= older_until_ns
    ]
    if len(older) + len(same_set) == len(traces):
        same_set = []  # the older ones end after all others, so their times do not separate sets
    lines = [f"{trace.name}: an older recording of rank {trace.rank}" for trace in older]
    lines += [f"{trace.name}: recorded with the older ones" for trace in same_set]
    kept = [trace for trace in traces if trace not in older and trace not in same_set]
    return kept, lines


def refuse_named_repeats(recordings: Sequence[MemberTrace]) -> None:
    """Raise UsageError if the user named several of these recordings of one rank."""
    if sum(trace.named for trace in recordings) > 1:
        first, second, *_ = recordings
        raise UsageError(
            f"{first.path} and {second.path} are both recordings of rank {first.rank}. Give one"
            " recording per rank."
        )


def number_unknown_ranks(parts: Sequence[MemberTrace]) -> None:
    """Give the lowest free ranks to the parts without one, in the order of `parts`."""
    taken = {part.rank for part in parts}
    free = (rank for rank in range(len(parts) + len(taken)) if rank not in taken)
    for part in parts:
        if part.rank is None:
            part.rank = next(free)


def require_one_job(parts: Sequence[MemberTrace]) -> None:
    """Raise UsageError when two parts cannot be of one job.

    That is when they were recorded hours apart, or one after the other with nothing in common.
    """
    in_time = sorted(parts, key=lambda part: part.span_ns)
    for earlier, later in pairwise(in_time):
        gap_ns = later.span_ns[0] - earlier.span_ns[1]
        if gap_ns > LONGEST_GAP_NS and earlier.span_ns[0] > SINCE_1970_NS:
            raise UsageError(
                f"{earlier.path} and {later.path} were recorded {gap_ns / 3.6e12:,.0f} hours apart"
                " and cannot be of one job. Analyze them separately."
            )
        share_collectives = earlier.trace.has("collectives") and later.trace.has("collectives")
        is_untied = main_pid(earlier) == main_pid(later) or not share_collectives
        if gap_ns > 0 and is_untied and None in (earlier.rank, later.rank):
            raise UsageError(
                f"{earlier.path} and {later.path} were recorded one after the other and do not"
                " contain their ranks. Analyze them separately, or put `rank0`, `rank1` ... into"
                " their file names."
            )


def main_pid(member: MemberTrace) -> int:
    """Return the pid of the process that did the work, -1 where it is unknown."""
    processes = member.trace.table("processes")
    return -1 if processes is None or not len(processes) else int(processes["pid"].iloc[0])
