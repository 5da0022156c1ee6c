"""Reads a job: every member with one Executor, then one clock and one Trace of all."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.jobs.alignment import Alignment, align_parts
from perfscope.traces.jobs.job_time import job_times
from perfscope.traces.jobs.members import JobMember, members, refuse_large_job
from perfscope.traces.jobs.merge import Piece, merged_tables
from perfscope.traces.jobs.processes import open_local_executor
from perfscope.traces.jobs.recordings import JobParts, MemberTrace, parts_of_job
from perfscope.traces.jobs.sources import job_sources
from perfscope.traces.reading import read_path
from perfscope.traces.reading_options import reading_options
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.span import span
from perfscope.traces.trace import Trace
from perfscope.traces.validation.invariants import summed_violations

OpenExecutor = Callable[[Sequence[Path]], AbstractContextManager[Executor]]


def load_job(paths: Sequence[Path], open_executor: OpenExecutor | None = None) -> Trace:
    """Return the Trace of everything at these paths. Raises UnreadableRun, UsageError.

    `open_executor` opens the Executor that reads several files. Without it they are read in
    parallel on this machine.
    """
    found = members(paths)
    if len(found) == 1 and open_executor is None:
        return read_path(found[0].path)
    return load_members(found, paths[0] if len(paths) == 1 else None, open_executor)


def load_members(
    found: Sequence[JobMember], path: Path | None, open_executor: OpenExecutor | None = None
) -> Trace:
    """Return the Trace of the members of a job at a path. Raises UnreadableRun, UsageError."""
    refuse_large_job(found)
    job = read_job_parts(found, open_executor or open_local_executor)
    if len(job.parts) == 1 and not job.left_out:
        return job.parts[0].trace
    return merge_parts(job, path)


def read_job_parts(found: Sequence[JobMember], open_executor: OpenExecutor) -> JobParts:
    """Read the members, and return those that are parts of the job."""
    read, left_out = read_all(found, open_executor)
    job = parts_of_job(read)
    job.left_out += left_out
    return job


def read_all(
    found: Sequence[JobMember], open_executor: OpenExecutor
) -> tuple[list[MemberTrace], list[str]]:
    """Return every member that can be read, and one line per entry of a folder that cannot.

    Raises UnreadableRun for a path that the user gave, and when nothing can be read.
    """
    read, left_out = [], []
    first_error: UnreadableRun | None = None
    progress = reading_options().progress
    all_bytes, done_bytes = sum(size_of(member.path) for member in found), 0
    with open_executor([member.path for member in found]) as executor:
        # Threads report their progress themselves.
        reports = progress is not None and not isinstance(executor, ThreadPoolExecutor)
        futures = [executor.submit(read_path, member.path) for member in found]
        for member, future in zip(found, futures, strict=True):
            try:
                trace = future.result()
            except UnreadableRun as error:
                if member.named:
                    raise
                first_error = first_error or error
                left_out.append(str(error))
                continue
            read.append(MemberTrace.of_trace(member.path, member.named, trace))
            done_bytes += size_of(member.path)
            if progress is not None and reports:
                progress(done_bytes, all_bytes, done_bytes)
    if not read and first_error is not None:
        raise first_error
    return read, left_out


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 for a folder."""
    return path.stat().st_size if path.is_file() else 0


def merge_parts(job: JobParts, path: Path | None) -> Trace:
    """Return one Trace of the parts.

    `job` is empty afterwards: each part loses a table as soon as it is merged, so that memory does
    not hold everything twice.
    """
    parts = [member.trace for member in job.parts]
    alignments = align_parts(parts)
    times = job_times(parts, alignments)
    sources, dropped = job_sources(job, alignments, times.unrelated)
    pieces = [
        Piece(dict(tables_with_rank(member, alignment, offset_ns)), shift)
        for member, alignment, offset_ns, shift in zip(
            job.parts, alignments, times.offsets_ns, times.shifts, strict=True
        )
    ]
    absent = {name: part.why_absent(name) for part in reversed(parts) for name in TABLES}
    damaged_records = sum(part.damaged_records for part in parts)
    residual_ns = max(part.clock_residual_ns for part in parts)
    kind = parts[0].kind
    manifests = [with_job_zero(part.manifest, times.zero_ns) for part in parts]
    violations = summed_violations(row for part in manifests for row in part.violations)
    manifests[0] = msgspec.structs.replace(
        manifests[0], sources=sources, dropped=dropped, violations=violations
    )
    job.parts.clear()
    parts.clear()
    merged = merged_tables(pieces)
    return Trace(
        merged,
        {name: reason for name, reason in absent.items() if name not in merged},
        manifests,
        kind=kind,
        span_ns=span(merged.values()),
        damaged_records=damaged_records,
        clock_residual_ns=residual_ns,
        path=path,
    )


def tables_with_rank(
    member: MemberTrace, alignment: Alignment, offset_ns: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the tables of a part, with its rank and the correction of its clock."""
    for name in TABLES:
        frame = member.trace.table(name)
        if frame is None:
            continue
        changed: dict[str, int] = {}
        if name in ("ranks", "processes") and member.rank is not None:
            changed["rank"] = member.rank
        if name == "ranks":
            changed["clock_offset_ns"] = offset_ns
            changed["clock_residual_ns"] = alignment.residual_ns
        if changed:
            columns = {name: np.full(len(frame), value) for name, value in changed.items()}
            frame = frame.assign(**columns)
        yield name, frame


def with_job_zero(manifest: Manifest, zero_ns: int) -> Manifest:
    """Return the manifest with the job's time zero on both of its clocks."""
    later_ns = zero_ns - manifest.zero_realtime_ns
    has_monotonic_clock = manifest.zero_monotonic_ns != 0
    monotonic_ns = manifest.zero_monotonic_ns + later_ns if has_monotonic_clock else 0
    return msgspec.structs.replace(
        manifest, zero_realtime_ns=zero_ns, zero_monotonic_ns=monotonic_ns
    )
