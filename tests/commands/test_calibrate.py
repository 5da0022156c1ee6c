"""`doctor --calibrate` for real: measures, keeps, and refuses on a busy machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.agent.machine_checks import calibration
from perfscope.errors import PerfscopeError, UsageError
from perfscope.traces.calibrations import load_calibration


def test_a_calibration_is_measured_and_used_by_the_analyzer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        sys.executable,
        "-m",
        "perfscope",
        "doctor",
        "--calibrate",
        "--force",
        "--threads",
        "1",
        "--json",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    [output] = json.loads(done.stdout)
    assert output["threads"] == 1
    assert output["flops_per_s"]["float32"] > 1e9 and output["bytes_per_s"] > 1e8
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = load_calibration(output["host"], output["torch"], 1)
    assert kept is not None and kept.flops_per_s == output["flops_per_s"]
    assert load_calibration(output["host"], output["torch"], 2) is None


def test_a_busy_machine_and_a_python_without_torch_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibration, "BUSY", -1.0)  # so that any machine counts as busy
    with pytest.raises(UsageError, match="--force"):
        calibration.calibrate(sys.executable, 1, force=False)
    with pytest.raises(PerfscopeError, match="--python"):
        calibration.calibrate("/bin/false", 1, force=True)
