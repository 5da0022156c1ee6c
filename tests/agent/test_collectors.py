"""The list of collectors: the recorder starts, polls and stops what is listed, and nothing else."""

from pathlib import Path

import pytest

from perfscope.agent.collector import Collector, Job, Need
from perfscope.agent.collectors import COLLECTORS
from perfscope.agent.recording.recorder import Plan, Recorder
from perfscope.traces.run_folder.manifest import SourceStatus
from perfscope.traces.run_folder.stored import StoredRun
from tests.safety.other_user import waiting_process
from tests.safety.tracer_faults import begin, end

HOLDS_THE_GIL = """
import sys, torch
sys.setswitchinterval(1000)
print("ready", flush=True)
while True:
    sum(range(1000))
"""


class CountingCollector(Collector):
    """A collector of the shortest possible kind: it counts how often it was polled."""

    NAME = "counting"
    PERIOD_NS = 10_000_000

    def start(self, job: Job) -> None:
        self.polls = 0

    def poll(self, now_ns: int) -> int:
        self.polls += 1
        return now_ns + self.PERIOD_NS

    def stop(self) -> SourceStatus:
        return SourceStatus(self.NAME, "ok" if self.polls > 1 else "failed")


class UnneededCollector(CountingCollector):
    """A collector whose need is never met."""

    NAME = "unneeded"
    NEEDS = frozenset({Need.NVTX_SOCKET})


@pytest.mark.parametrize("collector_class", COLLECTORS, ids=lambda listed: listed.__name__)
def test_a_listed_collector_declares_itself(collector_class: type[Collector]) -> None:
    assert collector_class.__doc__ and collector_class.NAME
    assert collector_class.PERIOD_NS >= 10_000_000
    assert set(Need) >= collector_class.NEEDS


def test_the_recorder_runs_the_listed_collectors_whose_needs_hold(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with waiting_process() as pid:
        plan = Plan(pid, out, depth="observe", duration_s=0.3)
        recorder = Recorder(plan, (CountingCollector, UnneededCollector))
        recorder.record(lambda progress: None)
    sources = StoredRun.open(out).manifest.sources
    assert [(source.name, source.status) for source in sources] == [("counting", "ok")]


def test_a_source_that_the_depth_turns_off_is_reported_as_off(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with waiting_process() as pid:
        listed = [collector for collector in COLLECTORS if collector.NAME == "probe"]
        recorder = Recorder(Plan(pid, out, depth="observe", duration_s=0.1), listed)
        recorder.record(lambda progress: None)
    (probe,) = StoredRun.open(out).manifest.sources
    assert (probe.name, probe.status) == ("probe", "off")


def test_a_probe_that_never_gets_the_gil_is_reported_as_the_reason(tmp_path: Path) -> None:
    target = begin(HOLDS_THE_GIL)
    recorder = Recorder(Plan(target.pid, tmp_path / "run", duration_s=1.5))
    recorder.record(lambda progress: None)
    end(target)
    manifest = StoredRun.open(tmp_path / "run").manifest
    probe = next(source for source in manifest.sources if source.name == "probe")
    assert (manifest.depth, probe.status) == ("observe", "unavailable")
    assert manifest.depth_reason == probe.reason and str(target.pid) in (probe.reason or "")
