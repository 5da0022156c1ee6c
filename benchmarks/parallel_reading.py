"""What reading the ranks of a job side by side gains over one after the other, and what merging
them costs.

    python -m benchmarks.parallel_reading TRACE.json.gz [RANKS]

Makes RANKS (16) ranks from one recorded trace. Both ways read every file whole; the merge is
measured apart.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from perfscope.traces.jobs.job import merge_parts, read_job_parts
from perfscope.traces.jobs.members import members
from perfscope.traces.jobs.processes import open_local_executor
from perfscope.traces.reading import read_path
from tests.traces.warped_ranks import warped_ranks


def main(source: Path, ranks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        warped_ranks(source, job, ranks, slow=1)
        found = members([job])
        begin = time.perf_counter()
        chosen = read_job_parts(found, open_local_executor)
        beside_s = time.perf_counter() - begin
        begin = time.perf_counter()
        whole = merge_parts(chosen, job)
        merge_s = time.perf_counter() - begin
        begin = time.perf_counter()
        for part in found:
            read_path(part.path)
        after_s = time.perf_counter() - begin
        rows = sum(
            len(frame)
            for name in ("ops", "kernels", "launches", "ranges")
            if (frame := whole.table(name)) is not None
        )
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{ranks} ranks, {rows:,} rows: one after the other {after_s:.2f} s, side by side"
        f" {beside_s:.2f} s ({after_s / beside_s:.2f} times as fast), merging {merge_s:.2f} s; peak"
        f" {peak_mb:.0f} MB"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 16)
