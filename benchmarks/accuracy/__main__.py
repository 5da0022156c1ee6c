"""Diagnoses programs and recordings whose answer is known, and scores the diagnoses.

The cases are those in `benchmarks/accuracy/cases` and in each FOLDER: a case is a folder with
`expect.json` (`case.py`) and its input. A program runs as `python program.py SECONDS` in the folder
of its case; perfscope attaches to it. A recording that does not exist is written by `make.py` of
its case into a temporary folder. Results are appended to `--out`, one JSON line per input.

The runs of programs are kept in `--runs`; a program whose run is there is not started again. With
`--busy N`, N other processes compute on the same machine while a program is recorded.

Usage: `python -m benchmarks.accuracy [FOLDER ...] [--only WORD] [--kind program] [--out FILE]
[--runs FOLDER] [--busy N]`.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.accuracy.case import PROGRAM, Case, read_cases
from benchmarks.accuracy.score import Answer, Failure, points, points_without_diagnosis

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]
LONGEST_COMMAND_S = 180.0
LONGEST_EXIT_S = 10.0
BUSY = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name contains WORD")
    parser.add_argument("--kind", choices=("program", "recording"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runs", type=Path, metavar="FOLDER")
    parser.add_argument("--busy", type=int, default=0, metavar="N")
    args = parser.parse_args()
    cases = [case for folder in (CASES, *args.folders) for case in read_cases(folder)]
    with busy_processes(args.busy):
        rows = [
            row
            for case in cases
            if args.only in case.name and args.kind in (None, case.kind)
            for row in run_case(case, args.runs)
        ]
    if args.out is not None:
        with open(args.out, "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    print_summary(rows)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` processes computing while the context is open."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run_case(case: Case, runs: Path | None) -> list[dict[str, Any]]:
    """Diagnose each input of a case; return a row for each."""
    rows = []
    for name in case.inputs:
        if case.kind == PROGRAM:
            answer = diagnose_program(case, name, runs)
        else:
            answer = diagnose_recording(case, name)
        if isinstance(answer, Failure):
            headline = None
            score, reason = points_without_diagnosis(case, answer)
        else:
            headline = answer["verdict"]["headline"]
            score, reason = points(case, answer)
        row = {
            "case": case.name,
            "input": name,
            "kind": case.kind,
            "new_kind": case.new_kind,
            "points": score,
            "reason": reason,
            "verdict": headline,
        }
        print(f"{score:3}  {case.name}/{name}: {reason}\n     {headline}", flush=True)
        rows.append(row)
    return rows


def diagnose_program(case: Case, name: str, runs: Path | None) -> Answer | Failure:
    """Run a program and attach to it, if its run is not in `runs`; return the diagnosis."""
    with tempfile.TemporaryDirectory() as folder:
        run = (runs or Path(folder)) / f"{case.name}.{name}.perfscope"
        if run.exists():
            return run_perfscope("analyze", str(run))
        return record_program(case, name, run)


def record_program(case: Case, name: str, run: Path) -> Answer | Failure:
    """Run a program and attach to it; return the diagnosis."""
    lasts_s = case.attach_after_s + case.duration_s + LONGEST_COMMAND_S
    command = [sys.executable, name, str(lasts_s)]
    if case.ranks:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={case.ranks}"]
        command[1:1] = [*launcher, "--master-port=29531"]
    with tempfile.TemporaryFile() as log:
        program = subprocess.Popen(
            command, cwd=case.folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            time.sleep(case.attach_after_s)
            options = ["--duration", str(case.duration_s), "--out", str(run)]
            options += ["--all-ranks"] if case.ranks else []
            return run_perfscope("attach", str(program.pid), *options)
        finally:
            end(program)


def end(program: subprocess.Popen[bytes]) -> None:
    """End a program with everything it started."""
    program.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(LONGEST_EXIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def diagnose_recording(case: Case, name: str) -> Answer | Failure:
    """Analyze a recording, and make it first if it does not exist; return the diagnosis."""
    path = case.folder / name
    if path.exists():
        return run_perfscope("analyze", str(path))
    with tempfile.TemporaryDirectory() as folder:
        make = [sys.executable, str(case.folder / "make.py"), folder]
        subprocess.run(make, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        return run_perfscope("analyze", f"{folder}/{name}")


def run_perfscope(command: str, *arguments: str) -> Answer | Failure:
    """Run a command of perfscope; return the diagnosis."""
    words = [sys.executable, "-m", "perfscope", command, *arguments, "--json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_COMMAND_S)
    except subprocess.TimeoutExpired:
        return Failure(f"no answer within {LONGEST_COMMAND_S:.0f} s")
    if done.returncode:
        return Failure(done.stderr.strip(), done.returncode)
    answer: Answer = json.loads(done.stdout)
    return answer


def print_summary(rows: list[dict[str, Any]]) -> None:
    """Print the mean score of all inputs, and of each kind."""
    by_kind: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        group = "kinds without a finding" if row["new_kind"] else "kinds with a finding"
        by_kind[f"{row['kind']}s"].append(row["points"])
        by_kind[group].append(row["points"])
        by_kind["all"].append(row["points"])
    for name, scores in by_kind.items():
        print(f"{name}: mean {mean(scores):.2f} of 2, {len(scores)} inputs")


if __name__ == "__main__":
    main()
