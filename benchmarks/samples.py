"""Attaches to every sample workload, ill and fixed, and holds the verdict and the prediction against what is true.

For each: the verdict against the first line of the program, whether it is gone with --fix, and the measured speed-up (by the
program's own meter, unattached) against the predicted one. Usage: `python -m benchmarks.samples [NAME ...] [--ranks 2]`.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "sample_workloads"
DECLARED = re.compile(r'^"""ill: ([a-z-]+)(?:/([a-z-]+))?(?: \+ ([a-z-]+))?\. ')
WARM_UP_S = 4.0
OWN_S = 6.0


@dataclass(frozen=True)
class Sample:
    """A program and what its first line says it suffers from."""

    name: str
    id: str
    cause: str | None
    also: str | None


def samples() -> list[Sample]:
    """All programs that declare something."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        match = DECLARED.match(path.read_text().split("\n", 1)[0])
        if match:
            found.append(Sample(path.stem, *match.groups()))
    return found


class Running:
    """A sample that runs; `rates()` are the steps per second it has told so far."""

    def __init__(self, name: str, ranks: int, *arguments: str) -> None:
        program = ["-m", f"sample_workloads.{name}", *arguments]
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks), "--master_port", "29517"]
        command = [sys.executable, *launcher, *program] if ranks > 1 else [sys.executable, *program]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in end()
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.DEVNULL, cwd=FOLDER.parent, start_new_session=True
        )
        end = time.monotonic() + 90
        while len(self.said()) < 2 * ranks and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.2)

    def said(self) -> list[dict[str, float]]:
        text = os.pread(self.log.fileno(), 1 << 20, 0).decode()
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]

    def step_ms(self, seconds: float) -> float:
        """Mean step over the coming seconds, by the program's own meter."""
        before = len(self.said())
        time.sleep(seconds)
        lines = self.said()[before:]
        return sum(line["step_ms"] for line in lines) / max(len(lines), 1)

    def end(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def attach(pid: int, seconds: float) -> dict[str, Any]:
    """The diagnosis of a running sample."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "perfscope", "attach", str(pid), "--duration", str(seconds), "--json"]
        done = subprocess.run([*command, "--out", f"{folder}/run"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"attach failed: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def look(sample: Sample, ranks: int, seconds: float, *arguments: str) -> tuple[dict[str, Any] | None, float]:
    """(diagnosis, own step_ms) of one run; None when the program says it cannot run here."""
    running = Running(sample.name, ranks, *arguments)
    try:
        if running.process.poll() is not None:
            return None, 0.0
        time.sleep(WARM_UP_S)
        own_ms = running.step_ms(OWN_S)
        return attach(running.process.pid, seconds), own_ms
    finally:
        running.end()


def verdict_of(answer: dict[str, Any]) -> str:
    verdict = answer["verdict"]
    return verdict["id"] + (f"/{verdict['cause']}" if verdict["cause"] else "")


def judge(sample: Sample, ranks: int, seconds: float) -> bool:
    """One line of the table; True when everything holds."""
    ill, ill_ms = look(sample, ranks, seconds)
    if ill is None:
        print(f"{sample.name:32} cannot run here", flush=True)
        return True
    fixed, fixed_ms = look(sample, ranks, seconds, "--fix")
    wanted = sample.id + (f"/{sample.cause}" if sample.cause else "")
    said = verdict_of(ill)
    found = [one["id"] for one in ill["findings"]]
    right = said == wanted and (sample.also is None or sample.also in found)
    healed = fixed is not None and (sample.also or sample.id) not in [one["id"] for one in fixed["findings"]]
    gain = ill_ms / fixed_ms if fixed_ms else 0.0
    speedup = next((one["speedup"] for one in ill["findings"] if one["id"] == sample.id), None) or {}
    low, likely, high = (speedup.get(key) for key in ("low", "likely", "high"))
    inside = low is None or (low <= gain <= high and abs(likely / gain - 1) <= 0.2)
    predicted = f"{likely:.2f} [{low:.2f} .. {high:.2f}]" if low else f"<= {high:.2f}" if high else "-"
    own = f"{ill['steps']['mean_ms'] or 0:.1f} ms, own {ill_ms:.1f}"
    words = f"{'ok ' if right and healed and inside else 'NO '} {said:34} {'healed' if healed else 'NOT HEALED'}"
    print(f"{sample.name:32} {words:50} gain {gain:5.2f} predicted {predicted:24} step {own}", flush=True)
    if not right or not healed:
        others = [verdict_of(fixed) if fixed else "-", *[one["id"] for one in (fixed or ill)["findings"]]]
        print(f"{'':32} wanted {wanted}; found {found}; with --fix {others}", flush=True)
    return right and healed and inside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--duration", type=float, default=15.0)
    args = parser.parse_args()
    wanted = [one for one in samples() if not args.names or one.name in args.names]
    results = [judge(one, args.ranks, args.duration) for one in wanted]
    print(f"{sum(results)} of {len(results)} hold")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
