"""The substitute driver's counters follow the simulated device, as the ledger accounts for it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import substitute_nvml
from tests.simulated_accelerator import PROGRAMS, environment
from tests.target_processes import until

READINGS = 24
PERIOD_S = 0.1
IDLE_W, LOAD_W = 60, 330
CONTEXT_BYTES = 500e6
READER = f"""
import json, time
import pynvml
pynvml.nvmlInit()
device = pynvml.nvmlDeviceGetHandleByIndex(0)
rows = []
for _ in range({READINGS}):
    rows.append(
        [
            time.monotonic_ns(),
            pynvml.nvmlDeviceGetUtilizationRates(device).gpu,
            pynvml.nvmlDeviceGetTotalEnergyConsumption(device),
            pynvml.nvmlDeviceGetMemoryInfo(device).used,
        ]
    )
    time.sleep({PERIOD_S})
print(json.dumps(rows))
"""


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_counters_follow_the_device(tmp_path: Path, share: float) -> None:
    files = {"ledger": tmp_path / "ledger", "counters": tmp_path / "counters"}
    program = [sys.executable, str(PROGRAMS / "part_time.py"), str(share)]
    with subprocess.Popen(program, env=environment(**files)) as target:
        try:
            until(lambda: files["ledger"].exists() and "\n" in files["ledger"].read_text(), 60)
            time.sleep(0.5)
            scenario = substitute_nvml.write_scenario(tmp_path, "a100", f"live {files['counters']}")
            env = substitute_nvml.environment(substitute_nvml.build_driver(tmp_path), scenario)
            env["SUBSTITUTE_AT_ONCE"] = "1"
            command = [sys.executable, "-c", READER]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
            time.sleep(0.5)
        finally:
            target.kill()
    rows = json.loads(done.stdout)
    first_ns, last_ns = rows[0][0], rows[-1][0]
    steps = [json.loads(line) for line in files["ledger"].read_text().split("\n")[:-1]]
    inside = [step for step in steps if first_ns <= step["start_ns"] and step["end_ns"] <= last_ns]
    span_ns = sum(step["end_ns"] - step["start_ns"] for step in inside)
    busy = sum(step["kernel_ns"] for step in inside) / span_ns
    assert 0.1 < busy < 0.95
    utilization = sum(row[1] for row in rows) / len(rows) / 100
    assert utilization == pytest.approx(busy, abs=0.06)
    watts = (rows[-1][2] - rows[0][2]) / 1e3 / ((last_ns - first_ns) / 1e9)
    assert watts == pytest.approx(IDLE_W + (LOAD_W - IDLE_W) * busy, abs=12)
    # The tensor of the program and its copy of the same size.
    assert rows[-1][3] - CONTEXT_BYTES == pytest.approx(1 << 20, rel=0.1)
