"""Attaches to public training programs, and compares the answer with py-spy's samples.

`python -m benchmarks.public_programs.agreement [NAME ...]`. Each program is started as its authors
say, on made-up data. While it trains, `perfscope attach` and `py-spy record` watch its main process
in the same seconds. The recordings are kept in `--runs`, and a program whose recording is there is
not started again, so that a changed rule is tried in a second.

`--folder` has the clones, `--python` is a Python with what the programs need: see
`training_programs.py`. Whether a verdict is true, a person judges: docs/accuracy.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.public_programs.line_shares import (
    Agreement,
    compare,
    lines_of_answer,
    lines_of_py_spy,
)
from benchmarks.public_programs.started_program import NotStarted, Place, start_program
from benchmarks.public_programs.training_programs import TRAINING, TrainingProgram

ROOT = Path(__file__).parents[2]
PY_SPY = Path(sys.executable).with_name("py-spy")
DURATION_S = 20
RATE_HZ = 20
LONGEST_ATTACH_S = 240.0
LONGEST_ENTRY_S = 60.0
UNATTRIBUTED = ("not-recorded", "other")
"""Phases of the run budget in which nobody knows what the program did."""
Answer = dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """The folder of what was recorded of one program."""

    folder: Path

    @property
    def run(self) -> Path:
        """The run folder of perfscope."""
        return self.folder / "run.perfscope"

    @property
    def samples(self) -> Path:
        """The output of py-spy."""
        return self.folder / "py-spy.txt"

    @property
    def facts(self) -> Path:
        """The working directory of the program, and the load of the machine before and after."""
        return self.folder / "facts.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only programs whose name contains one of these")
    parser.add_argument("--folder", type=Path, default=Path("../public-programs"))
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--kept", action="store_true", help="only programs that are recorded")
    parser.add_argument("--out", type=Path, help="a file for one JSON line per program")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    place = Place(args.folder.resolve(), args.python.absolute())
    rows = []
    for program in TRAINING:
        if args.names and not any(name in program.name for name in args.names):
            continue
        recording = Recording(args.runs.resolve() / program.slug)
        if not recording.facts.exists():
            if args.kept:
                continue
            try:
                record(program, place, recording)
            except (NotStarted, subprocess.SubprocessError) as error:
                print(f"{program.name}: not recorded: {error}", flush=True)
                continue
        rows.append(row_of(program, recording))
        print(json.dumps(rows[-1], indent=1), file=sys.stderr, flush=True)
    if args.out is not None:
        args.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))


def record(program: TrainingProgram, place: Place, recording: Recording) -> None:
    """Start a program, record it with perfscope and py-spy at once, and end it.

    Raises NotStarted, and SubprocessError where one of them failed.
    """
    recording.folder.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()[0]
    with start_program(program, place, {}) as pid:
        folder = os.readlink(f"/proc/{pid}/cwd")
        attach = [sys.executable, "-m", "perfscope", "attach", str(pid)]
        attach += ["--duration", str(DURATION_S), "--json", "--out", str(recording.run)]
        with subprocess.Popen(attach, cwd=ROOT, stdout=subprocess.DEVNULL) as attached:
            wait_for_entry(recording.run)
            sample(pid, recording.samples)
            attached.wait(LONGEST_ATTACH_S)
        if attached.returncode:
            raise subprocess.CalledProcessError(attached.returncode, attach)
    facts = {"folder": folder, "load_before": before, "load_after": os.getloadavg()[0]}
    recording.facts.write_text(json.dumps(facts))


def wait_for_entry(run: Path) -> None:
    """Wait until perfscope begins to record."""
    until = time.monotonic() + LONGEST_ENTRY_S
    while not (run / "manifest.json").exists() and time.monotonic() < until:
        time.sleep(0.02)


def sample(pid: int, path: Path) -> None:
    """Sample a process with py-spy, which does not stop it. Raises SubprocessError."""
    command = [str(PY_SPY), "record", "--nonblocking", "--idle", "--rate", str(RATE_HZ)]
    command += ["--duration", str(DURATION_S), "--format", "raw", "--full-filenames"]
    subprocess.run(
        [*command, "--output", str(path), "--pid", str(pid)],
        check=True,
        capture_output=True,
        timeout=LONGEST_ATTACH_S,
    )


def row_of(program: TrainingProgram, recording: Recording) -> dict[str, Any]:
    """Return the answer for a recorded program, and how it agrees with py-spy."""
    answer = analyze(recording.run)
    facts = json.loads(recording.facts.read_text())
    row = {
        "program": program.name,
        "subject": program.subject,
        "loop": program.loop,
        "load": [facts["load_before"], facts["load_after"]],
        **answer_in_short(answer),
    }
    if answer["by_code"]:
        answered = lines_of_answer(answer)
        sampled = lines_of_py_spy(recording.samples.read_text(), facts["folder"])
        agreement = compare(answered, sampled)
        row |= {"samples": [answered.samples, sampled.samples], **agreement_in_short(agreement)}
    return row


def analyze(run: Path) -> Answer:
    """Return the diagnosis of a kept run."""
    command = [sys.executable, "-m", "perfscope", "analyze", str(run), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    answer: Answer = json.loads(done.stdout)
    return answer


def answer_in_short(answer: Answer) -> dict[str, Any]:
    """Return what a person judges: verdict, line, advice, and the time that nobody explains."""
    verdict = answer["verdict"]
    steps = {row["category"]: row["share"] for row in answer["time_budget"]}
    phases = {row["phase"]: row["share"] for row in answer["run_budget"]}
    where = verdict["where"]
    key = verdict["finding_key"]
    finding = next((finding for finding in answer["findings"] if finding["key"] == key), None)
    idle = steps.get("other-idle", 0.0)
    own_s = sum(call["total_s"] for call in answer["by_code"])
    return {
        "verdict": verdict["id"] if verdict["cause"] is None else label_of(verdict),
        "confidence": verdict["confidence"],
        "headline": verdict["headline"],
        "explanation": verdict["explanation"],
        "where": None if where is None else f"{where['file']}:{where['line']}",
        "where_share": None if where is None else where["share"]["likely"],
        "advice": [] if finding is None else advice_in_short(finding),
        "other_findings": [label_of(finding) for finding in answer["findings"][1:]],
        "steps": None if answer["steps"] is None else answer["steps"]["count"],
        "step_ms": None if answer["steps"] is None else answer["steps"]["mean_ms"],
        "phases": {phase: round(share, 3) for phase, share in phases.items() if share >= 0.001},
        "time_budget": {name: round(share, 3) for name, share in steps.items() if share >= 0.001},
        "unattributed_run": round(sum(phases.get(phase, 0.0) for phase in UNATTRIBUTED), 4),
        "unattributed_steps": round(idle, 4),
        "unattributed": round(
            sum(phases.get(phase, 0.0) for phase in UNATTRIBUTED) + idle * phases.get("steps", 0.0),
            4,
        ),
        "by_code_over_span": round(own_s / answer["span_s"], 4),
    }


def label_of(named: dict[str, Any]) -> str:
    """Return `id/cause` of a verdict or finding."""
    return named["id"] if named["cause"] is None else f"{named['id']}/{named['cause']}"


def advice_in_short(finding: dict[str, Any]) -> list[str]:
    """Return the actions of a finding, with what they are predicted to gain."""
    speedup = finding["speedup"]
    return [
        f"{action['id']}: {action['text']} ({action['precondition']['evidence']}; {speedup})"
        for action in finding["actions"]
    ]


def agreement_in_short(agreement: Agreement) -> dict[str, Any]:
    """Return the agreement with py-spy."""
    return {
        **{
            name: round(value, 1)
            for name, value in asdict(agreement).items()
            if isinstance(value, float)
        },
        "at": str(agreement.at),
        "first": [str(line) for line in agreement.first],
        "same_first": agreement.first_in_words,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return all results as a table, as in docs/accuracy.md."""
    lines = [
        "| program | verdict | line | largest difference to py-spy | same first line"
        " | unattributed |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        points = "no samples"
        if "largest_points" in row:
            points = f"{row['largest_points']:.1f} (by chance {row['by_chance_points']:.1f})"
        lines.append(
            f"| {row['program']} | {row['verdict']} | {row['where'] or ''} | {points}"
            f" | {row.get('same_first', '')} | {100 * row['unattributed']:.1f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
