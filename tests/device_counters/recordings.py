"""Recordings of scenarios made with the substitute driver: several at once, of real targets."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.host import proc
from tests.substitute_nvml import build_driver, environment, write_scenario
from tests.target_processes import until

ROOT = Path(__file__).parent.parent.parent
SECONDS = 3.0
AT_ONCE = 14
"""How many recordings run at once: two cores can do that."""
# A program that waits has no findings of its own on a busy machine.
WAITING = [sys.executable, "-c", "import time\nwhile True: time.sleep(0.01)"]
COMPUTING = [sys.executable, "-c", "while True: sum(range(1000))"]
NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child"]
TARGETS = {
    "waiting": WAITING,
    "computing": COMPUTING,
    "in a pid namespace": [*NAMESPACE, *WAITING],
}
GPM_IDLE = ("tensor_active 0.02", "dram_active 0.05", "fp32_active 0.02")


@dataclass(frozen=True)
class Scenario:
    """A file of tests/substitute_nvml/scenarios, the number of its devices, and lines to change.

    PID stands for the target, OTHER for a process that is not part of the job.
    """

    base: str
    changes: tuple[str, ...] = ()
    devices: int = 1
    links: str = "switch"
    old: bool = False
    target_line: str = "process PID 50e9 90"
    target: str = "waiting"


SCENARIOS = {
    "healthy-v100": Scenario("v100", target_line="process PID 15e9 90"),
    "healthy-a100": Scenario("a100"),
    "healthy-h100": Scenario("h100"),
    "healthy-b200": Scenario("b200"),
    "healthy-geforce": Scenario("geforce", target_line="process PID 15e9 90"),
    "healthy-eight": Scenario("h100", devices=8),
    "nvlink-full": Scenario("h100", ("nvlink_tx 390e9", "nvlink_rx 385e9"), devices=2),
    "nvlink-mesh-full": Scenario(
        "a100",
        ("nvlink_tx 135e9", "nvlink_rx 135e9", "@0 process PID 15e9 90", "@1 process PID 15e9 90"),
        devices=3,
        links="mesh",
        target_line="",
    ),
    "pcie-full": Scenario("h100", ("pcie_rx 56e9",)),
    "pcie-downtrained": Scenario(
        "h100", ("pcie_generation 1", "pcie_width 4", "pcie_rx 0.93e9", "pcie_tx 0.2e9")
    ),
    "hot": Scenario(
        "a100",
        (
            "clock_events 0 @1.3 64",
            "sm_clock 1395 @1.3 700",
            "held_thermal 0 @1.3 1",
            "temperature 92",
        ),
    ),
    "power-cap-lowered": Scenario(
        "h100", ("power_limit_mw 400000", "held_power 0.9", "clock_events 4", "sm_clock 1200")
    ),
    "power-cap-usual": Scenario("h100", ("held_power 0.9", "clock_events 4", "sm_clock 1500")),
    "memory-bound-decode": Scenario(
        "h100", ("dram_active 0.74", "tensor_active 0.06", "sm_active 0.98")
    ),
    "busy-but-empty": Scenario("h100", (*GPM_IDLE, "sm_active 0.1")),
    "host-feeds-slowly": Scenario("a100", ("utilization 8",), target="computing"),
    "memory-full": Scenario("h100", ("memory_used 84e9",)),
    "another-job": Scenario("h100", ("process OTHER 20e9 40",)),
    "far-processor": Scenario("h100", ("numa_node 1", "sm_active 0.3 @1.2 0.9")),
    "bad-link": Scenario("h100", ("nvlink_crc_flit_per_s 60",)),
    "bad-newer-link": Scenario("b200", ("nvlink5_recoveries_per_s 3600",)),
    "off-the-bus": Scenario("h100", ("@1 xid 79 @0.9", "@1 lost 1.0"), devices=2),
    "off-from-the-start": Scenario("h100", ("@1 lost 0",), devices=2),
    "driver-reload": Scenario("h100", ("gone 1.0 1.5",)),
    "no-permission": Scenario(
        "h100",
        (
            "refuses processes NO_PERMISSION",
            "refuses energy_w NO_PERMISSION",
            "refuses clock_events NO_PERMISSION",
            "refuses gpm_sample NO_PERMISSION",
        ),
    ),
    "mig": Scenario(
        "h100",
        (
            "mig_mode 1",
            "lacks utilization",
            "mig 3",
            "memory 20e9",
            "memory_used 8e9",
            "multiprocessors 32",
            "sm_active 0.8",
            "sm_occupancy 0.3",
            "tensor_active 0.55",
            "dram_active 0.2",
            "graphics_active 0.95",
            "process PID 8e9 0",
        ),
        target_line="",
    ),
    "old-driver": Scenario("v100", old=True, target_line="process PID 15e9 90"),
    "another-container": Scenario("h100", target="in a pid namespace"),
    "driver-not-loaded": Scenario("h100", ("init DRIVER_NOT_LOADED",)),
}


class Targets:
    """The running targets, and a process that is not part of the job."""

    def __init__(self) -> None:
        self.processes = {kind: subprocess.Popen(command) for kind, command in TARGETS.items()}
        self.other = subprocess.Popen(["sleep", "600"])

    def pid_of(self, kind: str) -> int:
        """Return the pid of a target; if it is in a namespace, of the program inside."""
        pid = self.processes[kind].pid
        if TARGETS[kind][: len(NAMESPACE)] != NAMESPACE:
            return pid
        until(lambda: proc.children(pid))
        return proc.children(pid)[0]

    def kill(self) -> None:
        """Kill all processes."""
        for process in (*self.processes.values(), self.other):
            process.kill()
            process.wait()


def record_scenarios(place: Path, names: tuple[str, ...] = tuple(SCENARIOS)) -> dict[str, Path]:
    """Record the scenarios, and return the run folder of each."""
    targets = Targets()
    try:
        for old in (False, True):
            driver = build_driver(place, old=old)
            chosen = [name for name in names if SCENARIOS[name].old == old]
            for first in range(0, len(chosen), AT_ONCE):
                record_batch(place, chosen[first : first + AT_ONCE], driver, targets)
    finally:
        targets.kill()
    return {name: place / name / "run" for name in names}


def record_batch(place: Path, names: list[str], driver: Path, targets: Targets) -> None:
    """Record several scenarios at once, each in a process of `tests.substitute_nvml.record`."""
    jobs = [prepare_recording(place / name, SCENARIOS[name], targets) for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "tests.substitute_nvml.record"],
        env=environment(driver, place),
        cwd=ROOT,
        input=json.dumps(jobs),
        text=True,
        timeout=120,
    )
    assert done.returncode == 0


def prepare_recording(folder: Path, scenario: Scenario, targets: Targets) -> list[object]:
    """Write the scenario's file; return what `tests.substitute_nvml.record` needs to record it."""
    folder.mkdir()
    pid = targets.pid_of(scenario.target)
    lines = []
    for line in ("speed 10", scenario.target_line, *scenario.changes):
        if line:
            named = line.replace("PID", str(pid))
            lines.append(named.replace("OTHER", str(targets.other.pid)))
    file = write_scenario(
        folder, scenario.base, *lines, devices=scenario.devices, links=scenario.links
    )
    return [pid, str(folder / "run"), SECONDS, str(file)]
