"""Whether two versions of perfscope give the same answers: save those of one, then compare with
those of the other.

    python -m benchmarks.same_answers save before.json PATH... [--job FOLDER]...
    python -m benchmarks.same_answers compare before.json after.json

PATH is a trace, a run folder, or a folder of them; FOLDER has a trace for each rank of one job.

Compared are ids, causes, order and numbers, not sentences. Each side is analyzed by the Python that
runs `save`, so run it in both checkouts. What the JSON of version 1 called otherwise is translated.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TRACE_SUFFIXES = (".json", ".gz", ".sqlite", ".pickle")
SAME_WITHIN = 1e-6  # of the larger number; what is rounded for printing is rounded the same way
LONGEST_S = 300.0


def recordings(path: Path) -> Iterator[Path]:
    """Return every run folder and every trace at or below a path."""
    if path.is_file() or (path / "manifest.json").is_file():
        yield path
        return
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and not inner.is_symlink():
            yield from recordings(inner)
        elif inner.name.endswith(TRACE_SUFFIXES):
            yield inner


def answer(path: Path) -> dict[str, Any]:
    """Return the essence of the diagnosis of a recording, or the exit code where there is none."""
    command = [sys.executable, "-m", "perfscope", "analyze", str(path), "--json", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    if not done.stdout:
        return {"exit_code": done.returncode}
    return essence(json.loads(done.stdout))


def essence(diagnosis: dict[str, Any]) -> dict[str, Any]:
    """Return ids, causes, order and numbers of a diagnosis, with the names of schema 2."""
    verdict = diagnosis["verdict"]
    budget = {
        entry["category"].replace("_", "-"): entry["share"] for entry in diagnosis["time_budget"]
    }
    steps = {
        name: diagnosis["steps"][name]
        for name in ("count", "mean_ms", "p50_ms", "p95_ms", "distorted")
    }
    missing = diagnosis.get("not_checked", diagnosis.get("not_applicable", []))
    return {
        "verdict": [verdict["id"], verdict["cause"], verdict["confidence"]],
        "bound_by": [diagnosis["bound_by"]["id"], diagnosis["bound_by"]["share"]],
        "span_s": diagnosis["span_s"],
        "steps": steps,
        "time_budget": budget,
        "findings": [numbers_of(finding) for finding in diagnosis["findings"]],
        "clear": diagnosis["clear"],
        "not_checked": [entry["id"] for entry in missing],
        "failed": [entry["id"] for entry in diagnosis["failed"]],
    }


def numbers_of(finding: dict[str, Any]) -> dict[str, Any]:
    """Return what a finding claims, without its sentences."""
    return {
        "id": finding["id"],
        "cause": finding["cause"],
        "severity": finding["severity"],
        "lost_s": finding["lost_s"],
        "share": finding["share"],
        "speedup": finding["speedup"],
        "evidence": [
            [entry["value"], entry["unit"]]
            for entry in finding["evidence"]
            if entry["value"] is not None
        ],
        "actions": len(finding["actions"]),
    }


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Return a line for each place in which two answers differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from differences(
                before.get(name), after.get(name), f"{where}.{name}" if where else name
            )
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{where}[{index}]")
    elif not are_equal(before, after):
        yield f"{where}: {before!r} -> {after!r}"


def are_equal(before: Any, after: Any) -> bool:
    """Return whether two values are equal, numbers within SAME_WITHIN."""
    if isinstance(before, int | float) and isinstance(after, int | float):
        return math.isclose(before, after, rel_tol=SAME_WITHIN, abs_tol=SAME_WITHIN)
    return bool(before == after)


def save(file: Path, paths: list[Path], jobs: list[Path]) -> int:
    """Analyze every recording and write the answers. Returns the exit code."""
    found = [*(recording for path in paths for recording in recordings(path)), *jobs]
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(map(str, found), pool.map(answer, found), strict=True))
    file.write_text(json.dumps(answers, indent=1), "utf-8")
    print(f"{len(answers)} recordings: {file}")
    return 0


def compare(before: Path, after: Path) -> int:
    """Print where two files of answers differ. Returns the exit code: 1 where they do."""
    old, new = (json.loads(file.read_text("utf-8")) for file in (before, after))
    shared = sorted(old.keys() & new.keys())
    differing = 0
    for name in shared:
        lines = list(differences(old[name], new[name]))
        differing += bool(lines)
        if lines:
            print(name, *lines, sep="\n    ")
    print(
        f"{len(shared)} recordings on both sides, {differing} differ,"
        f" {len(old.keys() ^ new.keys())} on one side only"
    )
    return 1 if differing else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    saving = commands.add_parser("save")
    saving.add_argument("file", type=Path)
    saving.add_argument("paths", type=Path, nargs="*")
    saving.add_argument("--job", type=Path, action="append", default=[], dest="jobs")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    asked = parser.parse_args()
    missing = (
        [str(path) for path in (*asked.paths, *asked.jobs) if not path.exists()]
        if asked.command == "save"
        else []
    )
    if missing:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    if asked.command == "save":
        return save(asked.file, asked.paths, asked.jobs)
    return compare(asked.before, asked.after)


if __name__ == "__main__":
    sys.exit(main())
