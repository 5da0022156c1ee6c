"""The sources of a whole job: those of its parts, which ranks are present, and how their clocks
were aligned.
"""

from collections.abc import Sequence

from perfscope.traces.jobs.alignment import Alignment
from perfscope.traces.jobs.recordings import JobParts, MemberTrace
from perfscope.traces.run_folder.manifest import SourceStatus

MOST_LISTED = 8
MOST_RESIDUAL_NS = 500_000
"""The wait for the last rank is known to within the residual. A larger one is hardly better than
the hosts' wall clocks (NTP in one network).
"""


def job_sources(
    job: JobParts, alignments: Sequence[Alignment], unrelated: Sequence[int]
) -> tuple[list[SourceStatus], list[str]]:
    """Return the sources of the whole job, and one line for everything that is missing."""
    labels = [part_label(part) for part in job.parts]
    sources = sources_of_parts(job.parts, labels)
    if all(part.trace.is_profiler_trace for part in job.parts):
        sources.append(rank_source(job))
    sources.append(clock_source(job.parts, alignments, unrelated))
    dropped = []
    for part, label in zip(job.parts, labels, strict=True):
        dropped += [f"{label}: {line}" for line in part.trace.manifest.dropped]
    dropped += [f"left out: {line}" for line in job.left_out]
    return sources, dropped


def part_label(part: MemberTrace) -> str:
    """Return how messages name a part: by rank, else host, else file."""
    if part.rank is not None:
        return f"rank {part.rank}"
    return part.trace.manifest.host or part.name


def sources_of_parts(parts: Sequence[MemberTrace], labels: Sequence[str]) -> list[SourceStatus]:
    """Return each source of the parts once."""
    by_name: dict[str, list[tuple[str, SourceStatus]]] = {}
    for part, label in zip(parts, labels, strict=True):
        for source in part.trace.manifest.sources:
            by_name.setdefault(source.name, []).append((label, source))
    return [merged_source(name, labeled) for name, labeled in by_name.items()]


def merged_source(name: str, labeled: Sequence[tuple[str, SourceStatus]]) -> SourceStatus:
    """Return one source of several parts, with the reasons of the parts where they differ."""
    sources = [source for _, source in labeled]
    shares = [source.overhead_share for source in sources if source.overhead_share is not None]
    overhead = max(shares, default=None)
    first = sources[0]
    if all((source.status, source.reason) == (first.status, first.reason) for source in sources):
        return SourceStatus(name, first.status, first.reason, overhead)
    if all(source.status == "ok" for source in sources):
        notes = [f"{label}: {source.reason}" for label, source in labeled if source.reason]
        return SourceStatus(name, "ok", "; ".join(shorten_list(notes)) or None, overhead)
    failures = [
        f"{label}: {source.reason or source.status}"
        for label, source in labeled
        if source.status != "ok"
    ]
    return SourceStatus(name, "partial", "; ".join(shorten_list(failures)), overhead)


def rank_source(job: JobParts) -> SourceStatus:
    """Return the source that says whether every rank of the job is present, and once."""
    reasons = [*job.assumed, *(f"left out {line}" for line in shorten_list(job.left_out))]
    world_size = max(part.world_size for part in job.parts)
    present = {part.rank for part in job.parts}
    missing = [rank for rank in range(max(world_size, 0)) if rank not in present]
    if missing:
        ranks = ", ".join(shorten_list([str(rank) for rank in missing]))
        reasons.insert(
            0,
            f"only {len(job.parts)} of {world_size} ranks were given (missing: {ranks}), so waiting"
            " for the missing ranks counts as communication",
        )
    return SourceStatus("ranks", "partial" if reasons else "ok", "; ".join(reasons) or None)


def clock_source(
    parts: Sequence[MemberTrace], alignments: Sequence[Alignment], unrelated: Sequence[int]
) -> SourceStatus:
    """Return the source that says how the clocks of the parts were aligned."""
    is_one_host = share_one_host(parts)
    unaligned = [
        number
        for number, alignment in enumerate(alignments)
        if alignment.set < 0 and number not in unrelated
    ]
    set_count = len({alignment.set for alignment in alignments if alignment.set >= 0})
    uncertain = [
        number
        for number, alignment in enumerate(alignments)
        if alignment.residual_ns > MOST_RESIDUAL_NS
    ]
    problems = []
    if unaligned and not is_one_host:
        reason = why_unaligned(parts, unaligned)
        problems.append(
            f"{label_list(parts, unaligned)}: {reason}, so their times rely on the wall clocks of"
            " the hosts"
        )
    if unrelated:
        problems.append(
            f"{label_list(parts, unrelated)}: no common clock, shown from the start of the others"
        )
    if set_count > 1 and not is_one_host:
        problems.append(
            f"the ranks form {set_count} sets without a common collective, aligned only by the wall"
            " clocks of the hosts"
        )
    if uncertain:
        problems.append(
            f"{label_list(parts, uncertain)}: collectives do not end at the same time as on the"
            " other ranks, so waits are uncertain"
        )
    status = "partial" if problems else "ok"
    return SourceStatus("clocks", status, "; ".join([*problems, *precision(alignments)]) or None)


def share_one_host(parts: Sequence[MemberTrace]) -> bool:
    """Return whether all parts were recorded on one known host."""
    hosts = {(part.trace.manifest.host, part.trace.manifest.boot_id) for part in parts}
    return len(hosts) == 1 and parts[0].trace.manifest.host != ""


def precision(alignments: Sequence[Alignment]) -> list[str]:
    """Return a sentence about the precision of the alignment by collectives; empty without one."""
    residuals_ns = [alignment.residual_ns for alignment in alignments if alignment.set >= 0]
    if not residuals_ns:
        return []
    within_us = max(residuals_ns) / 1e3
    return [f"aligned by collectives; 90 % of them end within {within_us:,.1f} us on all ranks"]


def label_list(parts: Sequence[MemberTrace], numbers: Sequence[int]) -> str:
    """Return the labels of some parts, separated by commas."""
    return ", ".join(shorten_list([part_label(parts[number]) for number in numbers]))


def why_unaligned(parts: Sequence[MemberTrace], numbers: Sequence[int]) -> str:
    """Return why these parts share no collective with the others."""
    if all(parts[number].trace.has("collectives") for number in numbers):
        return "their collectives differ from those of the others in order, size or time"
    return "they have no collective in common with the others"


def shorten_list(lines: Sequence[str]) -> list[str]:
    """Return the first lines, and how many were omitted."""
    omitted = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], *([f"{omitted} more"] if omitted > 0 else [])]
