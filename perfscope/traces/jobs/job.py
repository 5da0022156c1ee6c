"""Reads a job: every member as a map over one Executor, then one clock and one Trace of all."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.jobs.alignment import Alignment, aligned
from perfscope.traces.jobs.job_time import job_times
from perfscope.traces.jobs.members import Member, members
from perfscope.traces.jobs.merge import Piece, merged_tables
from perfscope.traces.jobs.processes import side_by_side
from perfscope.traces.jobs.recordings import Chosen, Recording, chosen, recording
from perfscope.traces.jobs.sources import job_sources
from perfscope.traces.reading import read_one
from perfscope.traces.reading_options import way
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.span import span
from perfscope.traces.trace import Trace

Processes = Callable[[Sequence[Path]], AbstractContextManager[Executor]]


def load_job(paths: Sequence[Path], processes: Processes | None = None) -> Trace:
    """The Trace of all that the paths hold. Raises UnreadableRun, UsageError.

    `processes` opens the Executor that reads several files; without one they are read side by side
    on this machine.
    """
    found = members(paths)
    if len(found) == 1 and processes is None:
        return read_one(found[0].path)
    job = chosen_of(found, processes or side_by_side)
    if len(job.parts) == 1 and not job.left_out:
        return job.parts[0].trace
    return merged(job, paths[0] if len(paths) == 1 else None)


def chosen_of(found: Sequence[Member], processes: Processes) -> Chosen:
    """What was read, without what is not of the job."""
    read, left_out = read_all(found, processes)
    job = chosen(read)
    job.left_out += left_out
    return job


def read_all(found: Sequence[Member], processes: Processes) -> tuple[list[Recording], list[str]]:
    """Every member that can be read, and a line on each entry of a folder that cannot; raises
    UnreadableRun for a file that was named, or when nothing can be read.
    """
    read, left_out = [], []
    first: UnreadableRun | None = None
    heard, whole_bytes, done_bytes = way().progress, sum(size_of(one.path) for one in found), 0
    with processes([one.path for one in found]) as executor:
        futures = [executor.submit(read_one, one.path) for one in found]
        for member, future in zip(found, futures, strict=True):
            try:
                read.append(recording(member.path, member.named, future.result()))
                done_bytes += size_of(member.path)
                if heard is not None and not isinstance(
                    executor, ThreadPoolExecutor
                ):  # threads tell it themselves
                    heard(done_bytes, whole_bytes, done_bytes)
            except UnreadableRun as error:
                if member.named:
                    raise
                first = first or error
                left_out.append(str(error))
    if not read and first is not None:
        raise first
    return read, left_out


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def merged(job: Chosen, path: Path | None) -> Trace:
    """One Trace of the parts, which are taken out of `job`: each loses a table as soon as it is
    merged.
    """
    parts = [one.trace for one in job.parts]
    alignments = aligned(parts)
    times = job_times(parts, alignments)
    sources, dropped = job_sources(job, alignments, times.unrelated)
    pieces = [
        Piece(dict(identified(part, one.rank, alignment, offset_ns)), shift)
        for part, one, alignment, offset_ns, shift in zip(
            parts, job.parts, alignments, times.offsets_ns, times.shifts, strict=True
        )
    ]
    absent = {name: part.why_absent(name) for part in reversed(parts) for name in TABLES}
    torn, residual_ns = (
        sum(part.torn for part in parts),
        max(part.clock_residual_ns for part in parts),
    )
    manifests = [on_job_zero(part.manifest, times.zero_ns) for part in parts]
    manifests[0] = msgspec.structs.replace(manifests[0], sources=sources, dropped=dropped)
    job.parts.clear()
    parts.clear()
    tables = merged_tables(pieces)
    return Trace(
        tables,
        {name: why for name, why in absent.items() if name not in tables},
        manifests,
        span_ns=span(tables.values()),
        torn=torn,
        clock_residual_ns=residual_ns,
        path=path,
    )


def identified(
    part: Trace, rank: int | None, alignment: Alignment, offset_ns: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of a part, with its rank and what was done to its clock."""
    for name in TABLES:
        frame = part.table(name)
        if frame is None:
            continue
        if name in ("ranks", "processes") and rank is not None:
            frame = frame.assign(rank=np.int64(rank))
        if name == "ranks":
            frame = frame.assign(clock_offset_ns=offset_ns, clock_residual_ns=alignment.residual_ns)
        yield name, frame


def on_job_zero(manifest: Manifest, zero_ns: int) -> Manifest:
    """The manifest with the job's time zero on both of its clocks."""
    later_ns = zero_ns - manifest.zero_realtime_ns
    return msgspec.structs.replace(
        manifest,
        zero_realtime_ns=zero_ns,
        zero_monotonic_ns=manifest.zero_monotonic_ns + later_ns
        if manifest.zero_monotonic_ns
        else 0,
    )
