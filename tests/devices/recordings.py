"""Scenarios recorded with the stand-in driver: all of them at once, each from a process of its own, of one real target."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.driver import built, environment, written

ROOT = Path(__file__).parent.parent.parent
SECONDS = 2.5
PROGRAM = "import time\nwhile True: time.sleep(0.01)"
"""Waits: a busy machine then makes no findings of its own."""


@dataclass(frozen=True)
class Scenario:
    """A file of tests/driver/scenarios, how many devices of it, and what is changed. PID stands for the target."""

    base: str
    changes: tuple[str, ...] = ()
    devices: int = 1
    links: str = "switch"
    old: bool = False
    mine: str = "process PID 50e9 90"


SCENARIOS = {
    "healthy-h100": Scenario("h100"),
    "pcie-downtrained": Scenario("h100", ("pcie_generation 1", "pcie_width 4", "pcie_rx 0.93e9", "pcie_tx 0.2e9")),
}


def recorded(place: Path, names: tuple[str, ...] = tuple(SCENARIOS)) -> dict[str, Path]:
    """The run folder of each scenario."""
    drivers = {old: built(place, old=old) for old in (False, True)}
    target = subprocess.Popen([sys.executable, "-c", PROGRAM])
    agents = {}
    try:
        for name in names:
            scenario = SCENARIOS[name]
            folder = place / name
            folder.mkdir()
            lines = [one.replace("PID", str(target.pid)) for one in (scenario.mine, *scenario.changes) if one]
            file = written(folder, scenario.base, *lines, devices=scenario.devices, links=scenario.links)
            command = [sys.executable, "-m", "tests.driver.record", str(target.pid), str(folder / "run"), str(SECONDS)]
            said = (folder / "said").open("w")
            agents[name] = subprocess.Popen(
                command, env=environment(drivers[scenario.old], file), cwd=ROOT, stderr=said
            )
        for name, agent in agents.items():
            assert agent.wait(60) == 0, (place / name / "said").read_text()
    finally:
        target.kill()
        target.wait()
    return {name: place / name / "run" for name in names}
