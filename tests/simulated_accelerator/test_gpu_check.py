"""`make gpu-check` runs on the simulated device, and its report contains what the checks saw."""

import subprocess
import sys
from pathlib import Path

from benchmarks.gpu_check.checks import CHECKS
from tests.simulated_accelerator import environment
from tests.target_processes import ROOT

QUICK = ("graph capture", "devices in use")


def run_check(out: Path, *checks: str) -> "subprocess.CompletedProcess[str]":
    """Run some of the checks on the simulated device, all by default."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", *checks, "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)


def test_the_report_contains_each_check(tmp_path: Path) -> None:
    done = run_check(tmp_path / "report.md", *QUICK)
    assert done.returncode == 0, done.stderr + done.stdout
    report = (tmp_path / "report.md").read_text()
    assert report == done.stdout.removesuffix("\n")
    assert "Simulated accelerator (sim)" in report
    assert "| graph capture | ok |" in report
    assert "| devices in use | skipped |" in report


def test_without_a_device_nothing_is_checked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--out", str(tmp_path / "report.md")]
    env = {**environment(), "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert not (tmp_path / "report.md").exists()


def test_names_of_checks_are_unique() -> None:
    names = [name for name, _ in CHECKS]
    assert len(set(names)) == len(names) == 10
