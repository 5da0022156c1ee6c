"""Attaches to jobs that hang and to healthy jobs with long steps, and checks each answer.

For a job that hangs: is the finding `hang`, with the right process, line and reason, and how many
seconds after the start of `perfscope attach` was it printed? For a healthy job: is there no such
finding? Usage: `python -m benchmarks.hung_jobs [--only WORD]`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.hung_jobs.jobs import JOBS, PROGRAMS, KnownJob

LONGEST_S = 15.0
START_S = 60.0
SETTLE_S = 2.0
HEALTHY_S = 15.0
LONGEST_COMMAND_S = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORD")
    args = parser.parse_args()
    jobs = [job for job in JOBS if args.only in f"{job.program}/{job.variant}"]
    right = 0
    for job in jobs:
        answer, seconds = diagnose_job(job)
        faults = faults_of(job, answer, seconds)
        right += not faults
        found = hang_of(answer)
        text = answer["verdict"]["headline"] if found is None else found["headline"]
        print(f"{'right' if not faults else 'WRONG'} {seconds:5.1f} s  {job.program}/{job.variant}")
        print(f"      {text}")
        for fault in faults:
            print(f"      {fault}", flush=True)
    print(f"{right} of {len(jobs)} right")


def diagnose_job(job: KnownJob) -> tuple[dict[str, Any], float]:
    """Start a job and attach to it; return the diagnosis and the time that it took, in seconds."""
    command = [sys.executable, f"{job.program}.py", job.variant]
    if job.ranks > 1:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={job.ranks}"]
        command[1:1] = [*launcher, "--master-port=29532"]
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryDirectory() as folder:
        program = subprocess.Popen(
            command, cwd=PROGRAMS, stdout=printed, stderr=printed, start_new_session=True
        )
        try:
            wait_until_ready(printed.fileno())
            return attach(program.pid, job, Path(folder))
        finally:
            end_session(program)


def wait_until_ready(printed: int) -> None:
    """Wait until the program says that it is about to hang."""
    give_up_s = time.monotonic() + START_S
    while b"ready" not in os.pread(printed, 1 << 16, 0):
        if time.monotonic() > give_up_s:
            raise SystemExit(os.pread(printed, 1 << 16, 0).decode())
        time.sleep(0.1)
    time.sleep(SETTLE_S)


def attach(pid: int, job: KnownJob, folder: Path) -> tuple[dict[str, Any], float]:
    """Attach as a user would; return the diagnosis and the seconds until it was printed."""
    command = [sys.executable, "-m", "perfscope", "attach", str(pid), "--json"]
    command += ["--out", str(folder / "run")]
    command += ["--all-ranks"] if job.ranks > 1 else []
    command += [] if job.hangs else ["--duration", str(HEALTHY_S)]
    began_s = time.monotonic()
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=LONGEST_COMMAND_S
    )
    return json.loads(done.stdout), time.monotonic() - began_s


def end_session(program: subprocess.Popen[bytes]) -> None:
    """End a program with everything that it started, in whatever session."""
    for pid in reversed(descendants(program.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    program.wait()


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (folder / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += descendants(int(child))
    return found


def hang_of(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the finding `hang` of a diagnosis, None without one."""
    return next((found for found in answer["findings"] if found["id"] == "hang"), None)


def faults_of(job: KnownJob, answer: dict[str, Any], seconds: float) -> list[str]:
    """Return what is wrong with the answer to a job."""
    found = hang_of(answer)
    if not job.hangs:
        return ["is called hung"] if found is not None else []
    if found is None:
        return ["is not called hung"]
    faults = [] if seconds <= LONGEST_S else [f"took longer than {LONGEST_S:.0f} s"]
    where = found["where"] or {}
    place = (Path(where.get("file") or "").name, where.get("line"))
    if place not in [(f"{job.program}.py", line) for line in job.lines()]:
        faults.append(f"names {place}, not {job.lines()}")
    process: dict[str, Any] = next(
        (row for row in answer["processes"] if row["process"] == where.get("process")), {}
    )
    if process.get("role") not in job.roles:
        faults.append(f"names a process of role {process.get('role')}")
    if job.rank is not None and process.get("rank") != job.rank:
        faults.append(f"names rank {process.get('rank')}")
    text = json.dumps(found)
    return faults + [f"does not mention {word}" for word in job.words if word not in text]


if __name__ == "__main__":
    main()
