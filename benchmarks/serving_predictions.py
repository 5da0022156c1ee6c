"""Compares the predicted latencies of servers with those after the setting was really changed, and
the parts of each request with its latency by the clock of the load generator.

Each server runs with the setting that perfscope advises to change, and then several times with the
other one, with the same times of requests. Latencies are those that perfscope records at the
handlers, and, for the change, those of the load generator too.
Usage: `python -m benchmarks.serving_predictions [NAME ...] [--repeats 3]`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfscope.analyzer.serving.request_model_calls import request_frame, served_requests
from perfscope.traces.load import load_trace

ROOT = Path(__file__).parent.parent
WARM_UP_S = 3.0
METRICS = ("e2e_p50_ms", "e2e_p99_ms")
QUANTILES = (0.5, 0.99)
LARGEST_ERROR, LARGEST_SPREAD = 0.15, 0.25
CLOSE_MS, CLOSE_SHARE = 2.0, 0.02
EARLY_S = 0.01


@dataclass(frozen=True)
class Change:
    """A sample, and the options that set what its finding advises."""

    name: str
    sample: str
    finding: str
    options: tuple[str, ...]
    rate: float
    seconds: float
    common: tuple[str, ...] = ()
    """Options of both."""


CHANGES = (
    Change("window", "batching_delay", "batching-delay", ("--window-ms", "0"), 90.0, 25.0),
    Change("largest", "admission_limit", "queueing", ("--largest", "4"), 110.0, 20.0),
    Change(
        "waiting-window",
        "batching_delay",
        "batching-delay",
        ("--window-ms", "0"),
        30.0,
        70.0,
        ("--wait-ms", "15", "--window-ms", "100"),
    ),
    Change(
        "waiting-largest",
        "admission_limit",
        "queueing",
        ("--largest", "4"),
        70.0,
        30.0,
        ("--wait-ms", "20"),
    ),
)


@dataclass(frozen=True)
class ServedRun:
    """A recorded run of a server: the diagnosis, the run folder, and the load generator's log."""

    answer: dict[str, Any]
    folder: Path
    log: dict[str, Any]

    def recorded(self, share: float) -> float:
        """Return a quantile of the latency at the handlers, in milliseconds."""
        return float(np.quantile(parts_of_run(self.folder).sum(axis=1), share))

    def by_load(self, share: float) -> float:
        """Return a quantile of the latency by the load generator, in milliseconds."""
        times = np.array(self.log["sent_answered_s"])
        return float(np.quantile(1e3 * (times[:, 1] - times[:, 0]), share))


def parts_of_run(folder: Path) -> npt.NDArray[np.float64]:
    """Return the parts of the requests of a run, in milliseconds (requests x parts)."""
    [served] = load_trace(folder).fact(served_requests)
    return request_frame(served).to_numpy(np.float64)


def run_server(change: Change, options: tuple[str, ...], folder: Path) -> ServedRun:
    """Run a sample under load, attach to it, and return what was recorded."""
    folder.mkdir()
    whole_s = change.seconds + WARM_UP_S + 8.0
    words = [sys.executable, "-m", f"sample_workloads.serving.{change.sample}"]
    words += [*change.common, *options]
    words += ["--rate", str(change.rate), "--seconds", str(whole_s), "--log", str(folder / "log")]
    server = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    time.sleep(WARM_UP_S)
    attach = [sys.executable, "-m", "perfscope", "attach", str(server.pid), "--json"]
    attach += ["--depth", "probe", "--duration", str(change.seconds), "--out", str(folder / "run")]
    done = subprocess.run(attach, capture_output=True, text=True, check=True)
    server.communicate(timeout=whole_s + 60.0)
    log = json.loads((folder / "log").read_text())
    return ServedRun(json.loads(done.stdout), folder / "run", log)


def predictions_of(run: ServedRun, finding: str) -> dict[str, dict[str, float]]:
    """Return what the first action of a finding predicts, by metric; empty without predictions."""
    actions = [
        action
        for found in run.answer["findings"]
        if found["id"] == finding
        for action in found["actions"][:1]
    ]
    return {each["metric"]: each for action in actions for each in action["predictions"]}


def compare(change: Change, folder: Path, args: argparse.Namespace) -> bool:
    """Print a line per metric; return whether every error is small enough."""
    slow = run_server(change, (), folder / "slow")
    predicted = predictions_of(slow, change.finding)
    print_parts(change.name, slow)
    changed = [
        run_server(change, change.options, folder / f"changed{repeat}")
        for repeat in range(args.repeats)
    ]
    holds = bool(predicted)
    for metric, share in zip(METRICS, QUANTILES, strict=True):
        measured = np.array([run.recorded(share) for run in changed])
        by_load = np.array([run.by_load(share) for run in changed])
        mean, spread = measured.mean(), np.ptp(measured) / measured.mean()
        likely = predicted.get(metric, {}).get("likely", float("nan"))
        error = likely / mean - 1.0
        holds &= bool(abs(error) <= max(LARGEST_ERROR, min(spread, LARGEST_SPREAD)))
        print(
            f"{change.name:16} {metric:11} before {slow.recorded(share):7.2f}"
            f"  predicted {likely:7.2f}  measured {mean:7.2f} (spread {100 * spread:.0f} %)"
            f"  error {100 * error:+.0f} %  by the load generator {by_load.mean():7.2f} ms",
            flush=True,
        )
    counts = [run.answer["requests"]["count"] for run in (slow, *changed)]
    print(
        f"{change.name:16} requests {counts}, {'holds' if holds else 'DOES NOT HOLD'}", flush=True
    )
    return holds


def print_parts(name: str, run: ServedRun) -> None:
    """Print how well the parts of requests agree with the clock of the load generator."""
    [served] = load_trace(run.folder).fact(served_requests)
    zero_s = json.loads((run.folder / "manifest.json").read_text())["zero_monotonic_ns"] / 1e9
    begin_s, end_s = (ns / 1e9 + zero_s for ns in (served.arrival_ns, served.end_ns))
    pairs = latencies_of(run.log, begin_s, end_s)
    parts_ms = 1e3 * (end_s - begin_s)[pairs >= 0.0]
    latency_ms = 1e3 * pairs[pairs >= 0.0]
    rest_ms = latency_ms - parts_ms
    is_close = np.abs(rest_ms) <= np.maximum(CLOSE_MS, CLOSE_SHARE * latency_ms)
    print(
        f"{name:16} parts of {len(parts_ms)} requests: rest median {np.median(rest_ms):.2f} ms,"
        f" p95 {np.quantile(rest_ms, 0.95):.2f} ms; {100 * is_close.mean():.1f} % within 2 ms or"
        f" 2 %; rest of all {100 * rest_ms.sum() / latency_ms.sum():.1f} %",
        flush=True,
    )


def latencies_of(
    log: dict[str, Any], begin_s: npt.NDArray[np.float64], end_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the latency of each recorded request by the load generator, in seconds; -1 unknown.

    It is that of the first request sent that has no recorded one yet, was sent before this one
    arrived, and answered after it ended: the last bytes of an answer can arrive before its handler
    returns.
    """
    left = sorted(log["sent_answered_s"])
    found = np.full(len(begin_s), -1.0)
    for place in np.argsort(begin_s):
        while left and left[0][1] < begin_s[place]:
            left.pop(0)
        for candidate, (sent, answered) in enumerate(left):
            if sent > begin_s[place]:
                break
            if answered >= end_s[place] - EARLY_S:
                found[place] = answered - sent
                left.pop(candidate)
                break
    return found


def main() -> int:
    """Compare the servers; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for change in CHANGES:
            if not args.names or change.name in args.names:
                folder = Path(scratch) / change.name
                folder.mkdir()
                results.append(compare(change, folder, args))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
