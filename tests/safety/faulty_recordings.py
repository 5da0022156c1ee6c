"""Makes recordings in which one step of one collector, or of the recorder itself, raises.

Standard input holds a JSON list of lanes, each a list of cases that one process records one after
the other; lanes run side by side. What the recorder reported is written next to each run folder, as
PROBLEMS.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml  # noqa: F401  before the forks; the driver's library is loaded after them

from perfscope.agent import amd_devices, collectors
from perfscope.agent.delivery.probe_socket import open_probe_socket
from perfscope.agent.job.process_tree import JobTree
from perfscope.agent.nvml.device_watch import DeviceWatch
from perfscope.agent.recording import collector_runner
from perfscope.agent.recording.recorder import Plan, Recorder
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run_folder.folder import RunWriter

PROBLEMS = ".problems.json"
FAULT = "injected fault"
OWNERS: dict[str, Any] = {
    "Recorder": Recorder,
    "JobTree": JobTree,
    "RunWriter": RunWriter,
    "DeviceWatch": DeviceWatch,
    "amd": amd_devices,
}


@dataclass(frozen=True)
class Case:
    """One recording of process `pid`. `step` of `owner`, a collector or one of OWNERS, raises from
    call `since` on.

    `ways` are the sources to use that are expensive or exclude each other: stacks,
    on demand, amd, nvml, metrics.
    """

    name: str
    pid: int
    out: str
    owner: str = ""
    step: str = ""
    since: int = 1
    depth: str = "observe"
    seconds: float = 1.0
    ways: tuple[str, ...] = ()
    also: str = ""


def failing(method: Callable[..., Any], since: int) -> Callable[..., Any]:
    """`method`, which raises from its call number `since` on."""
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= since:
            raise ValueError(FAULT)
        return method(*args, **kwargs)

    return call


def unavailable(self: object, job: object) -> None:
    raise CollectorUnavailable("left to other recordings")


@contextmanager
def replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Attributes of classes changed, and put back."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def changes_of(case: Case) -> list[tuple[Any, str, Any]]:
    """What is replaced for a case: sources that it leaves out, and the step that raises."""
    changes: list[tuple[Any, str, Any]] = []
    if "stacks" not in case.ways:
        changes.append((collectors.Stacks, "start", unavailable))
    if "nvml" not in case.ways:
        changes.append((collectors.Nvml, "start", unavailable))
    if "on demand" in case.ways:
        changes += [
            (collectors.Probes, "start", unavailable),
            (collector_runner, "may_ask_for_windows", lambda pid: True),
        ]
    for step in filter(None, (case.step, case.also)):
        owner = OWNERS.get(case.owner) or getattr(collectors, case.owner)
        changes.append((owner, step, failing(getattr(owner, step), case.since)))
    return changes


def stand_in_amdsmi() -> None:
    """A binding that shows one device, which answers nothing."""
    module: Any = ModuleType("amdsmi")
    module.__spec__ = ModuleSpec("amdsmi", None)
    module.AmdSmiException = OSError
    module.amdsmi_init = lambda: None
    module.amdsmi_get_processor_handles = lambda: [1]
    module.AmdSmiClkType = SimpleNamespace(GFX=0)
    module.AmdSmiTemperatureType = SimpleNamespace(HOTSPOT=0)
    module.AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)
    sys.modules["amdsmi"] = module


def record(case: Case) -> dict[str, Any]:
    """Make one recording; what the recorder reported of it, and what it raised."""
    if "amd" in case.ways:
        stand_in_amdsmi()
    plan = Plan(
        case.pid,
        Path(case.out),
        case.depth,
        case.seconds,
        nvtx_socket=open_probe_socket(),
        metrics_urls=("http://127.0.0.1:9/metrics",) if "metrics" in case.ways else (),
    )
    tick: Callable[..., None] = lambda progress: None  # noqa: E731
    if case.owner == "tick":
        tick = failing(tick, case.since)
        case = Case(case.name, case.pid, case.out)
    with replaced(changes_of(case)):
        recording = Recorder(plan)
        recording.record(tick)
    return {"problems": recording.problems}


def lane(cases: list[Case]) -> None:
    """Record one case after the other and end the process."""
    code = 1
    try:
        for case in cases:
            Path(case.out + PROBLEMS).write_text(json.dumps(record(case)))
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    children = []
    for cases in json.load(sys.stdin):
        forked = os.fork()
        if not forked:
            lane([Case(**{**case, "ways": tuple(case["ways"])}) for case in cases])
        children.append(forked)
    return max(
        (os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), default=0
    )


def encoded(lanes: list[list[Case]]) -> str:
    """The lanes as `main` reads them."""
    return json.dumps([[asdict(case) for case in cases] for cases in lanes])


if __name__ == "__main__":
    sys.exit(main())
