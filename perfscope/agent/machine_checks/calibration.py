"""Measures the peak rates of the CPU or of the accelerators, with the target's Python and torch.

A child process runs a large matrix multiplication and a memory triad.
"""

import json
import os
import platform
import subprocess
import time
from importlib.resources import as_file, files
from typing import Any

from perfscope.agent.host import proc
from perfscope.errors import PerfscopeError, UsageError
from perfscope.traces.calibrations import BUSY
from perfscope.traces.run_folder.manifest import Calibration, DeviceCalibration

OBSERVED_S = 1.0
TIMEOUT_S = 180.0


def calibrate(python: str, threads: int, *, force: bool) -> Calibration:
    """Return the measured rates; takes some seconds. `threads` 0 means that torch chooses.

    Raises UsageError when the machine is busy and `force` is not given, PerfscopeError when that
    Python has no torch.
    """
    busy = measure_busy_share()
    if busy > BUSY and not force:
        raise UsageError(
            f"{busy:.0%} of the cores are busy, so the rates would be too low. Calibrate when the"
            " machine is idle, or use --force"
        )
    measured = run_child(python, str(threads))
    return Calibration(
        host=platform.node(),
        cpu=cpu_name(),
        torch=measured["torch"],
        threads=measured["threads"],
        flops_per_s=measured["flops_per_s"],
        bytes_per_s=measured["bytes_per_s"],
        busy_share=round(busy, 3),
        made_unix_s=time.time(),
    )


def calibrate_devices(python: str) -> list[DeviceCalibration]:
    """Return the measured rates of one accelerator of each name; takes some seconds for each.

    Nothing else may use them meanwhile. Raises PerfscopeError when that Python has no torch, or
    torch finds no accelerator.
    """
    measured = run_child(python, "devices")
    if not measured["devices"]:
        raise PerfscopeError(
            f"torch {measured['torch']} of {python} finds no accelerator (needs torch 2.6 or newer)"
        )
    return [
        DeviceCalibration(torch=measured["torch"], made_unix_s=time.time(), **rates)
        for rates in measured["devices"]
    ]


def run_child(python: str, what: str) -> dict[str, Any]:
    """Return what the child process has measured. Raises PerfscopeError when it fails."""
    child = files("perfscope.agent.machine_checks").joinpath("calibration_child.py")
    with as_file(child) as script:
        command = [python, "-I", str(script), what]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PerfscopeError(f"cannot calibrate with {python}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a message"]
        raise PerfscopeError(
            f"cannot calibrate with {python}: {lines[-1]}; pass the target's Python with --python"
        )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def measure_busy_share() -> float:
    """Return the share of the machine's cores that is busy, measured for a second."""
    before = read_cpu_ticks()
    time.sleep(OBSERVED_S)
    after = read_cpu_ticks()
    total = sum(after) - sum(before)
    idle_and_iowait = sum(after[3:5]) - sum(before[3:5])
    return 1.0 - idle_and_iowait / total if total > 0 else 0.0


def read_cpu_ticks() -> list[int]:
    """Return the ticks of all cores together.

    These are user, nice, system, idle, iowait, irq, softirq and steal.
    """
    text = proc.read("/proc/stat") or "cpu 0 0 0 1 0"
    first_line, _, _ = text.partition("\n")
    fields = first_line.split()[1:9]
    missing = 5 - len(fields)
    return [int(field) for field in fields] + [0] * missing


def cpu_name() -> str:
    """Return the model name of the CPU, else its architecture."""
    for line in proc.kernel_lines(proc.read("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        if name.startswith("model name") and value.strip():
            return value.strip()
    return platform.machine() or os.uname().machine
