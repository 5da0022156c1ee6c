"""Sample workloads that run on the simulated device, and what perfscope says of them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.samples import DECLARED, FOLDER, START_TIMEOUT_S, RunningSample
from tests import substitute_nvml
from tests.simulated_accelerator import environment
from tests.target_processes import perfscope

WARM_UP_S = 2.0
NO_TRAFFIC = tuple(f"{key} 0" for key in ("pcie_tx", "pcie_rx", "nvlink_tx", "nvlink_rx"))
USUAL_SETTINGS: dict[str, object] = {"queue": 128}
"""Kernels take milliseconds here: CUDA's 1024 launches would be seconds of work ahead."""
SETTINGS: dict[str, dict[str, object]] = {"allocator_retries": {"memory_mb": 64}}
"""Settings of the device for a sample, where they differ from its defaults."""


@dataclass(frozen=True)
class DeviceTruth:
    """The device's own accounting of some steps, per step."""

    steps: int
    step_ms: float
    compute: float
    exposed_copy: float
    idle: float
    """Shares of the time."""


@dataclass(frozen=True)
class DeviceSampleRun:
    """A running sample on the device, and the files that the device writes."""

    running: RunningSample
    folder: Path

    @property
    def pid(self) -> int:
        return self.running.process.pid

    def ledger(self) -> list[dict[str, int]]:
        """Return the steps so far."""
        lines = (self.folder / "ledger").read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def truth(self, from_ns: int, to_ns: int) -> DeviceTruth:
        """Return the accounting of the steps between two instants of the monotonic clock."""
        rows = [
            row for row in self.ledger() if row["start_ns"] >= from_ns and row["end_ns"] <= to_ns
        ]
        assert rows, "no step ended in this time"
        span_ns = sum(row["end_ns"] - row["start_ns"] for row in rows)

        def share(name: str) -> float:
            return sum(row[name] for row in rows) / span_ns

        return DeviceTruth(
            len(rows),
            span_ns / len(rows) / 1e6,
            share("kernel_ns"),
            share("exposed_copy_ns"),
            share("idle_ns"),
        )

    def measure(self, seconds: float) -> DeviceTruth:
        """Let it run for some seconds, and return the accounting of them."""
        from_ns = time.monotonic_ns()
        time.sleep(seconds)
        return self.truth(from_ns, time.monotonic_ns())


def measured_peaks(folder: Path) -> Path:
    """Measure the peaks of the device; return the cache folder that holds them."""
    python, cache = folder / "python", folder / "cache"
    # The real command starts its child isolated (`-I`), which hides a device in PYTHONPATH.
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    env = {**environment(), "XDG_CACHE_HOME": str(cache)}
    command = perfscope("doctor", "--calibrate", "--device", "--python", python)
    subprocess.run(command, env=env, check=True, capture_output=True)
    return cache


def declared_verdict(name: str) -> tuple[str, str | None]:
    """Return the verdict and the cause that the first line of a device sample declares."""
    first_line = (FOLDER / "device" / f"{name}.py").read_text().split("\n", 1)[0]
    match = DECLARED.match(first_line)
    assert match, first_line
    return match[1], match[2]


def device_samples() -> list[str]:
    """Return the names of all samples for accelerators."""
    paths = sorted((FOLDER / "device").glob("*.py"))
    return [path.stem for path in paths if path.read_text().startswith('"""Verdict: ')]


@contextmanager
def running_on_device(name: str, folder: Path, *arguments: str) -> Iterator[DeviceSampleRun]:
    """Run a device sample, with the ledger and the counters in `folder`."""
    files = {"ledger": folder / "ledger", "counters": folder / "counters"}
    env = environment(**files, **{**USUAL_SETTINGS, **SETTINGS.get(name, {})})
    running = RunningSample(f"device.{name}", 1, "--device", "auto", *arguments, env=env)
    try:
        assert running.process.poll() is None, f"{name} ended at once"
        run = DeviceSampleRun(running, folder)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not (folder / "ledger").exists() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        time.sleep(WARM_UP_S)
        yield run
    finally:
        running.end()


def attach_with_driver(
    run: DeviceSampleRun, *arguments: str, seconds: float = 8.0, cache: Path | None = None
) -> tuple[dict[str, Any], DeviceTruth]:
    """Attach to a sample with the substitute driver; return the diagnosis and the truth.

    `cache` is the folder with the peaks of the device, where they were measured.
    """
    scenario = substitute_nvml.write_scenario(
        run.folder,
        "a100",
        f"live {run.folder / 'counters'}",
        f"process {run.pid} 500e6 90",
        *NO_TRAFFIC,
    )
    env = substitute_nvml.environment(substitute_nvml.build_driver(run.folder), scenario)
    env |= {} if cache is None else {"XDG_CACHE_HOME": str(cache)}
    out = ("--json", "--out", run.folder / "run", "--duration", seconds)
    done = subprocess.run(
        perfscope("attach", run.pid, *out, *arguments), env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((run.folder / "run" / "manifest.json").read_text())
    from_ns = manifest["zero_monotonic_ns"]
    truth = run.truth(from_ns, from_ns + int(seconds * 1e9))
    diagnosis: dict[str, Any] = json.loads(done.stdout)
    return diagnosis, truth


BUSY_MACHINE = "cpu-oversubscription"
"""Where other jobs take the cores the device really waits for the host: that is a right verdict."""
BUDGET_POINTS = 0.03
GAIN_ERROR = 0.15
CEILING_ERROR = 0.05
OF_COMPUTE, OF_COPIES = "device-compute", "exposed-copy"


def budget_differences(answer: dict[str, Any], truth: DeviceTruth) -> list[str]:
    """Return where the time budget is more than three points off the device's own accounting."""
    shares = {row["category"]: row["share"] for row in answer["time_budget"]}
    compute, copies = shares.pop(OF_COMPUTE, 0.0), shares.pop(OF_COPIES, 0.0)
    pairs = {
        OF_COMPUTE: (compute, truth.compute),
        OF_COPIES: (copies, truth.exposed_copy),
        "everything else": (sum(shares.values()), truth.idle),
    }
    return [
        f"{name} {found:.1%}, device {true:.1%}"
        for name, (found, true) in pairs.items()
        if abs(found - true) > BUDGET_POINTS
    ]


def verdict_differences(name: str, answer: dict[str, Any]) -> list[str]:
    """Return how the verdict differs from the one that the sample declares."""
    verdict, declared = answer["verdict"], declared_verdict(name)
    if (verdict["id"], verdict["cause"]) == declared or (
        declared[1] is None and verdict["id"] == declared[0]
    ):
        return []
    return [f"verdict {verdict['id']}/{verdict['cause']}, declared {declared[0]}/{declared[1]}"]


def was_disturbed(answer: dict[str, Any]) -> bool:
    """Return whether other jobs took the cores of this machine during a recording."""
    return any(finding["id"] == BUSY_MACHINE for finding in answer["findings"])


def gain_differences(name: str, answer: dict[str, Any], measured: float) -> list[str]:
    """Return how the predicted speedup differs from the measured one.

    Where a finding gives no likely value, its highest is a ceiling.
    """
    declared, _ = declared_verdict(name)
    findings = [finding for finding in answer["findings"] if finding["id"] == declared]
    speedup = (findings[0]["speedup"] if findings else None) or {}
    likely, high = speedup.get("likely"), speedup.get("high")
    if likely is not None and abs(likely / measured - 1) > GAIN_ERROR:
        return [f"predicted {likely:.2f}x, measured {measured:.2f}x"]
    if likely is None and high is not None and measured > high * (1 + CEILING_ERROR):
        return [f"predicted at most {high:.2f}x, measured {measured:.2f}x"]
    return []
