"""How much faster a job's traces are analyzed with more Dask workers on this machine.

    python -m benchmarks.dask_workers TRACE.json.gz [RANKS]

Makes RANKS (16) ranks from one recorded trace. The whole command is timed, file to diagnosis, with
clusters of one worker, two and four, each a process with one thread; the best of two runs counts.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from tests.traces.warped_ranks import warped_ranks

WORKERS = (1, 2, 4)
REPEATS = 2


def analyzed(job: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Return the shortest time of the command, in seconds, and its diagnosis."""
    command = [sys.executable, "-m", "perfscope", "analyze", str(job), "--json", "--no-cache"]
    times_s, answer = [], {}
    for _ in range(REPEATS):
        begin_s = time.perf_counter()
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        times_s.append(time.perf_counter() - begin_s)
        answer = json.loads(done.stdout)
    return min(times_s), answer


def main(source: Path, ranks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        warped_ranks(source, job, ranks, slow=1)
        local_s, expected = analyzed(job)
        print(f"{ranks} ranks, without Dask: {local_s:.2f} s", flush=True)
        single_s = 0.0
        for workers in WORKERS:
            with LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster:
                cluster.wait_for_workers(workers)
                took_s, answer = analyzed(job, "--dask", cluster.scheduler_address)
            single_s = single_s or took_s
            same = "the same diagnosis" if answer == expected else "ANOTHER DIAGNOSIS"
            print(
                f"  {workers} workers: {took_s:.2f} s, {single_s / took_s:.2f} times one worker;"
                f" {same}",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 16)
