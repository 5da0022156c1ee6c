"""`perfscope doctor --calibrate --device` on the simulated accelerator."""

import json
from pathlib import Path

import pytest

from tests.simulated_accelerator import environment
from tests.simulated_accelerator.workloads import measured_peaks


def test_measured_rates_are_those_of_the_device(tmp_path: Path) -> None:
    (file,) = (measured_peaks(tmp_path) / "perfscope" / "calibrations").iterdir()
    found, settings = json.loads(file.read_text()), environment()
    assert found["device"] == "Simulated accelerator"
    assert found["bytes_per_s"] == pytest.approx(float(settings["SIM_GBPS"]) * 1e9, rel=0.1)
    wanted = float(settings["SIM_GFLOPS"]) * 1e9
    assert found["flops_per_s"]["float32"] == pytest.approx(wanted, rel=0.1)
