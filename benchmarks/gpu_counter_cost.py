"""Measures the cost of reading eight GPUs: `python -m benchmarks.gpu_counter_cost [SECONDS]`.

A substitute driver takes as long for each call as a real one was measured to take. The benchmark
records a waiting process on a host of eight H100. It prints the rate in the manifest, the rate of
the rows, and the CPU time of the collector: as it measures itself, and as the difference between
recordings with and without it. It exits with 1 when the collector takes more than 1 % of a core.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from perfscope.traces.load import load_trace
from tests.substitute_nvml import build_driver, environment, write_scenario

DEVICES = 8
MOST_SHARE = 0.01
TARGET = "import time\nwhile True: time.sleep(0.01)"


def recorder_cpu_s(target: int, folder: Path, seconds: float, env: dict[str, str]) -> float:
    """Make a recording and return the CPU time of its process, in seconds."""
    job = json.dumps([[target, str(folder), seconds, env.get("SUBSTITUTE_SCENARIO", "")]])
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "tests.substitute_nvml.record"],
        env=env,
        check=True,
        input=job,
        text=True,
    )
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def main(seconds: float) -> int:
    """Measure and print the cost; return the exit code."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        target = subprocess.Popen([sys.executable, "-c", TARGET])
        try:
            lines = (f"process {target.pid} 50e9 90",)
            scenario = write_scenario(folder, "h100", *lines, devices=DEVICES)
            env = environment(build_driver(folder), scenario)
            with_driver = recorder_cpu_s(target.pid, folder / "with", seconds, env)
            without = recorder_cpu_s(
                target.pid, folder / "without", seconds, environment(None, None)
            )
        finally:
            target.kill()
            target.wait()
        return print_cost(folder, seconds, with_driver - without)


def print_cost(folder: Path, seconds: float, difference_s: float) -> int:
    """Print the cost; return the exit code."""
    sampling = json.loads((folder / "with" / "manifest.json").read_text())["device_sampling"]
    table = load_trace(folder / "with").table("device_counters")
    assert table is not None
    quick = table[table["name"] == "kernel_time_share"]
    slow = table[table["name"] == "nvlink_tx_bytes"]

    def hz(rows: "object") -> float:
        ts = rows["ts"]  # type: ignore[index]
        return (len(ts) / DEVICES - 1) / ((ts.max() - ts.min()) / 1e9)

    print(f"{DEVICES} devices, {seconds:g} s")
    for what, rows, kind in (("cheap", quick, "quick"), ("expensive", slow, "slow")):
        stated, cost = sampling[f"{kind}_hz"], sampling[f"{kind}_us"]
        rates = f"in the manifest {stated:.2f} Hz, reached {hz(rows):.2f} Hz"
        print(f"  {what:16} {rates}, {cost:.0f} us per device")
    print(
        f"  {'processes':16} {sampling['holders_hz']:.3f} Hz each,"
        f" {sampling['holders_us']:.0f} us per device"
    )
    print(
        f"  {'collector':16} {100 * sampling['core_share']:.2f} % of a core by its own measurement"
    )
    share = 100 * difference_s / seconds
    print(
        f"  {'whole recorder':16} {share:.2f} % of a core more than without a driver, its start"
        " included"
    )
    return 0 if sampling["core_share"] <= MOST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
