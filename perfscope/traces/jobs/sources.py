"""What a job's sources say together: those of its parts, which ranks are there, what ties their
clocks.
"""

from collections.abc import Sequence

from perfscope.traces.jobs.alignment import Alignment
from perfscope.traces.jobs.recordings import Chosen, Recording
from perfscope.traces.naming import path_text
from perfscope.traces.run.manifest import SourceStatus

MOST_NAMED = 8
# Waits for the last rank are told to this; hosts' wall clocks alone (NTP in one network) are hardly
# worse.
MOST_RESIDUAL_NS = 500_000


def job_sources(
    job: Chosen, alignments: Sequence[Alignment], unrelated: Sequence[int]
) -> tuple[list[SourceStatus], list[str]]:
    """The sources of the whole job, and what is missing, a line each."""
    labels = [label(one) for one in job.parts]
    sources = [
        one
        for one in (
            *of_parts(job.parts, labels),
            ranks(job),
            clocks(job.parts, alignments, unrelated),
        )
        if one
    ]
    dropped = [
        f"{who}: {line}"
        for one, who in zip(job.parts, labels, strict=True)
        for line in one.trace.manifest.dropped
    ]
    return sources, [*dropped, *(f"left out: {line}" for line in job.left_out)]


def label(one: Recording) -> str:
    """How a part is called."""
    return (
        f"rank {one.rank}"
        if one.rank is not None
        else one.trace.manifest.host or path_text(one.path.name)
    )


def of_parts(parts: Sequence[Recording], labels: Sequence[str]) -> list[SourceStatus]:
    """Each source once: as all say, or what each says that is not well."""
    said: dict[str, list[tuple[str, SourceStatus]]] = {}
    for one, who in zip(parts, labels, strict=True):
        for source in one.trace.manifest.sources:
            said.setdefault(source.name, []).append((who, source))
    merged = []
    for name, several in said.items():
        statuses = {(one.status, one.reason) for _, one in several}
        shares = [one.overhead_share for _, one in several if one.overhead_share is not None]
        overhead = max(shares, default=None)
        if len(statuses) == 1:
            merged.append(SourceStatus(name, several[0][1].status, several[0][1].reason, overhead))
            continue
        if all(one.status == "ok" for _, one in several):
            told = [f"{who}: {one.reason}" for who, one in several if one.reason]
            merged.append(SourceStatus(name, "ok", "; ".join(shortened(told)) or None, overhead))
            continue
        ill = [f"{who}: {one.reason or one.status}" for who, one in several if one.status != "ok"]
        merged.append(SourceStatus(name, "partial", "; ".join(shortened(ill)), overhead))
    return merged


def ranks(job: Chosen) -> SourceStatus | None:
    """Whether every rank of the job is there, and once; None where nothing tells (run folders)."""
    if any(one.of_ours for one in job.parts):
        return None
    reasons = [*job.assumed, *(f"left out {line}" for line in shortened(job.left_out))]
    world = max(one.world_size for one in job.parts)
    absent = sorted(set(range(max(world, 0))) - {one.rank for one in job.parts})
    if absent:
        names = ", ".join(shortened([str(rank) for rank in absent]))
        reasons.insert(
            0,
            f"{len(job.parts)} of {world} ranks are here (missing: {names}): what these wait for"
            " the others counts as communication",
        )
    return SourceStatus("ranks", "partial" if reasons else "ok", "; ".join(reasons) or None)


def clocks(
    parts: Sequence[Recording], alignments: Sequence[Alignment], unrelated: Sequence[int]
) -> SourceStatus:
    """What ties the clocks of the parts."""
    manifests = [one.trace.manifest for one in parts]
    loose = [
        number for number, one in enumerate(alignments) if one.set < 0 and number not in unrelated
    ]
    one_host = len({(one.host, one.boot_id) for one in manifests}) == 1 and manifests[0].host != ""
    sets = len({one.set for one in alignments if one.set >= 0})
    reasons = []
    if loose and not one_host:
        names = ", ".join(shortened([label(parts[number]) for number in loose]))
        reasons.append(
            f"{names}: {unmatched(parts, loose)}, so the times rest on the hosts' wall clocks"
        )
    if unrelated:
        names = ", ".join(shortened([label(parts[number]) for number in unrelated]))
        reasons.append(f"{names}: no common clock at all; shown from the same start")
    if sets > 1 and not one_host:
        reasons.append(
            f"the ranks fall into {sets} sets without a common collective, tied by the hosts' wall"
            " clocks"
        )
    left_ns = [one.residual_ns for one in alignments if one.set >= 0]
    apart = [number for number, one in enumerate(alignments) if one.residual_ns > MOST_RESIDUAL_NS]
    if apart:
        names = ", ".join(shortened([label(parts[number]) for number in apart]))
        reasons.append(
            f"{names}: leave matched collectives at other times than the others, so waits are"
            " uncertain"
        )
    told = (
        [
            f"aligned by collectives, which the ranks leave within {max(left_ns) / 1e3:,.1f} us"
            " (nine of ten)"
        ]
        if left_ns
        else []
    )
    return SourceStatus(
        "clocks", "partial" if reasons else "ok", "; ".join([*reasons, *told]) or None
    )


def unmatched(parts: Sequence[Recording], loose: Sequence[int]) -> str:
    """Why these share nothing."""
    if all(parts[number].trace.has("collectives") for number in loose):
        return "collectives do not fit those of the others in order, size and time"
    return "no collective in common with the others"


def shortened(lines: Sequence[str]) -> list[str]:
    """The first few, and how many more."""
    more = len(lines) - MOST_NAMED
    return [*lines[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
