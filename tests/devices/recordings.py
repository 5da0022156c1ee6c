"""Scenarios recorded with the stand-in driver: all of them at once, each from a process of its own,
of one real target.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.driver import built, environment, written
from tests.running import until

ROOT = Path(__file__).parent.parent.parent
SECONDS = 3.0
AT_ONCE = 14
PROGRAMS = {
    # a busy machine then makes no findings of its own
    "waiting": "import time\nwhile True: time.sleep(0.01)",
    "computing": "while True: sum(range(1000))",
}
TARGETS = {
    "waiting": ([], "waiting"),
    "computing": ([], "computing"),
    "in a pid namespace": (["unshare", "--pid", "--fork", "--kill-child"], "waiting"),
}
GPM_IDLE = ("tensor_active 0.02", "dram_active 0.05", "fp32_active 0.02")


@dataclass(frozen=True)
class Scenario:
    """A file of tests/driver/scenarios, how many devices of it, and what is changed.

    PID stands for the target, OTHER for a process that is not of the job.
    """

    base: str
    changes: tuple[str, ...] = ()
    devices: int = 1
    links: str = "switch"
    old: bool = False
    mine: str = "process PID 50e9 90"
    target: str = "waiting"


SCENARIOS = {
    "healthy-v100": Scenario("v100", mine="process PID 15e9 90"),
    "healthy-a100": Scenario("a100"),
    "healthy-h100": Scenario("h100"),
    "healthy-b200": Scenario("b200"),
    "healthy-geforce": Scenario("geforce", mine="process PID 15e9 90"),
    "healthy-eight": Scenario("h100", devices=8),
    "nvlink-full": Scenario("h100", ("nvlink_tx 390e9", "nvlink_rx 385e9"), devices=2),
    "nvlink-mesh-full": Scenario(
        "a100",
        ("nvlink_tx 135e9", "nvlink_rx 135e9", "@0 process PID 15e9 90", "@1 process PID 15e9 90"),
        devices=3,
        links="mesh",
        mine="",
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
    "off-the-bus": Scenario("h100", ("@1 xid 79 @0.9", "@1 lost 1.0"), devices=2),
    "off-from-the-start": Scenario("h100", ("@1 lost 0",), devices=2),
    "driver-reload": Scenario("h100", ("gone 1.0 1.5",)),
    "no-permission": Scenario(
        "h100",
        (
            "refuses processes NO_PERMISSION",
            "refuses energy_w NO_PERMISSION",
            "refuses clock_events NO_PERMISSION",
        ),
    ),
    "mig": Scenario(
        "h100",
        (
            *("mig_mode 1", "lacks utilization"),
            *(
                "mig 3",
                "memory 20e9",
                "memory_used 8e9",
                "multiprocessors 32",
                "sm_active 0.8",
                "sm_occupancy 0.3",
            ),
            *("tensor_active 0.55", "dram_active 0.2", "graphics_active 0.95", "process PID 8e9 0"),
        ),
        mine="",
    ),
    "old-driver": Scenario("v100", old=True, mine="process PID 15e9 90"),
    "another-container": Scenario("h100", target="in a pid namespace"),
    "driver-not-loaded": Scenario("h100", ("init DRIVER_NOT_LOADED",)),
}


def program_of(kind: str, pid: int) -> int:
    """The target itself: where a namespace is made first, the child of the process that makes
    it.
    """
    if not TARGETS[kind][0]:
        return pid
    until(lambda: children(pid))
    return children(pid)[0]


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def recorded(place: Path, names: tuple[str, ...] = tuple(SCENARIOS)) -> dict[str, Path]:
    """The run folder of each scenario."""
    drivers = {old: built(place, old=old) for old in (False, True)}
    targets = {
        kind: subprocess.Popen([*command, sys.executable, "-c", PROGRAMS[which]])
        for kind, (command, which) in TARGETS.items()
    }
    other = subprocess.Popen(["sleep", "600"])
    batches = [
        (old, some)
        for old in drivers
        for some in batched([name for name in names if SCENARIOS[name].old == old])
    ]
    try:
        for old, some in batches:
            jobs = [prepared(place / name, SCENARIOS[name], targets, other.pid) for name in some]
            command = [sys.executable, "-m", "tests.driver.record"]
            env = environment(drivers[old], place)
            done = subprocess.run(
                command, env=env, cwd=ROOT, input=json.dumps(jobs), text=True, timeout=120
            )
            assert done.returncode == 0
    finally:
        for one in (*targets.values(), other):
            one.kill()
            one.wait()
    return {name: place / name / "run" for name in names}


def batched(names: list[str]) -> list[list[str]]:
    """A few recordings at once: so many that two cores bear them."""
    return [names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE)]


def prepared(
    folder: Path, scenario: Scenario, targets: dict[str, "subprocess.Popen[bytes]"], other: int
) -> list[object]:
    """The scenario's file written: what `tests.driver.record` wants to know of one recording."""
    folder.mkdir()
    pid = program_of(scenario.target, targets[scenario.target].pid)
    lines = [
        one.replace("PID", str(pid)).replace("OTHER", str(other))
        for one in ("hurry 10", scenario.mine, *scenario.changes)
        if one
    ]
    file = written(folder, scenario.base, *lines, devices=scenario.devices, links=scenario.links)
    return [pid, str(folder / "run"), SECONDS, str(file)]
