"""A training run with a device of the substitute driver, recorded as a user would: steps and
counters are joined.
"""

import json
import subprocess
from pathlib import Path

import pytest

from perfscope.analyzer.devices.energy import energy
from perfscope.traces.load import load_trace
from tests.substitute_nvml import build_driver, environment, write_scenario
from tests.target_processes import end, perfscope, source_statuses, start


def test_counters_are_joined_to_steps(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path)
    try:
        scenario = write_scenario(tmp_path, "h100", f"process {run.pid} 50e9 90")
        command = perfscope(
            "attach", str(run.pid), "--duration", "4", "--json", "--out", tmp_path / "run"
        )
        done = subprocess.run(
            command,
            env=environment(build_driver(tmp_path), scenario),
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        end(run)
    assert done.returncode == 0, done.stderr
    diagnosis = json.loads(done.stdout)
    assert source_statuses(diagnosis)["nvml"] == "ok"
    assert diagnosis["bound_by"]["id"] == "compute", "the device works all the time"
    trace = load_trace(tmp_path / "run")
    used = trace.fact(energy)[0]
    step_s = diagnosis["steps"]["mean_ms"] / 1e3
    assert used.joules_per_step == pytest.approx(560 * step_s, rel=0.1)
    assert used.joules_per_sample is not None and used.joules_per_sample < used.joules_per_step
