"""Collectors that raise in each of their steps, and faults in the steps of the recorder: the
recording remains readable.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.agent.collectors import COLLECTORS, FlightRecorder
from perfscope.agent.recording.recorder import Plan, Recorder
from perfscope.cli import main
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.stored import StoredRun
from tests.safety.faulty_recordings import FAULT, PROBLEMS, Case, encoded
from tests.safety.other_user import waiting_process
from tests.substitute_nvml import build_driver, environment, write_scenario
from tests.target_processes import Run, end, perfscope, source_statuses, start, until

ROOT = Path(__file__).parents[2]
STEPS = ("start", "poll", "stop")
ENTERED = ("Probes", "Kernels")
WAYS = {
    "Stacks": ("stacks",),
    "Nvml": ("nvml",),
    "Amd": ("amd",),
    "EngineMetrics": ("metrics",),
}
SOURCES = {make.__name__: make.NAME for make in COLLECTORS}
OWN_STEPS = {
    "refresh": ("JobTree", "refresh", 2),
    "first refresh": ("JobTree", "refresh", 1),
    "clock pairs": ("Recorder", "pair_clocks", 1),
    "flush": ("RunWriter", "flush", 1),
    "manifest": ("RunWriter", "replace_manifest", 2),
    "progress": ("Recorder", "progress", 2),
    "view": ("tick", "", 1),
}
THREADS = {"nvml": ("DeviceWatch", "read_slow", "nvml"), "amdsmi": ("amd", "read_counters", "amd")}


def cases_of(place: Path, waiting: int, looping: int) -> list[list[Case]]:
    """Return every fault, in lanes that run in parallel: one target accepts one agent at a time."""
    lanes: list[list[Case]] = [[], []]
    for make in COLLECTORS:
        name = make.__name__
        for step in STEPS:
            label = f"{name}.{step}"
            out = str(place / label)
            if name in ENTERED:
                since = 6 if step == "poll" else 1  # the process has been entered by then
                seconds = 3.0 if step == "poll" else 1.5  # on a busy machine polls are rare
                lanes[0].append(Case(label, looping, out, name, step, since, "kernels", seconds))
            elif name == "OnDemand":
                lanes[1].append(
                    Case(label, waiting, out, name, step, depth="kernels", ways=("on demand",))
                )
            else:
                lanes.append([Case(label, waiting, out, name, step, ways=WAYS.get(name, ()))])
    for label, (owner, step, way) in THREADS.items():
        lanes.append(
            [Case(label, waiting, str(place / label), owner, step, seconds=1.5, ways=(way,))]
        )
    for label, (owner, step, since) in OWN_STEPS.items():
        lanes.append([Case(label, waiting, str(place / label), owner, step, since)])
    return lanes


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = start("looping.py", tmp_path_factory.mktemp("target"), "--workers", "0")
    yield run
    end(run)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, looping: Run) -> Path:
    """Make all recordings in parallel, of two targets; return their folder."""
    place = tmp_path_factory.mktemp("recordings")
    scenario = write_scenario(place, "h100", "speed 10")
    env = environment(build_driver(place), scenario)
    with waiting_process() as waiting:
        done = subprocess.run(
            [sys.executable, "-m", "tests.safety.faulty_recordings"],
            env=env,
            cwd=ROOT,
            input=encoded(cases_of(place, waiting, looping.pid)),
            text=True,
            timeout=120,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
    return place


def manifest_of(run: Path) -> tuple[Manifest, dict[str, str], list[str]]:
    """Return the manifest, the status of each source, and the problems that were reported."""
    manifest = StoredRun.open(run).manifest
    reported = json.loads(Path(str(run) + PROBLEMS).read_text())
    statuses = {source.name: source.status for source in manifest.sources}
    return manifest, statuses, reported["problems"]


@pytest.mark.parametrize(
    ("collector", "step"),
    [
        (make.__name__, step)
        for make in COLLECTORS
        for step in STEPS
        if step == "start" or make is not FlightRecorder  # it reads nothing of a single rank
    ],
)
def test_a_collector_that_raises_ends_alone(recordings: Path, collector: str, step: str) -> None:
    run, name = recordings / f"{collector}.{step}", SOURCES[collector]
    manifest, statuses, problems = manifest_of(run)
    assert manifest.finished
    assert manifest.end_reason is not None and FAULT not in manifest.end_reason
    (failed,) = [source for source in manifest.sources if source.status == "failed"]
    assert failed.name == name and FAULT in (failed.reason or "")
    assert len(problems) == 1 and FAULT in problems[0] and name in problems[0]
    others = {"host", "thread_states"} - {name}
    assert {statuses[other] for other in others} <= {"ok", "partial"}
    if collector in ENTERED and not (collector == "Probes" and step in ("start", "poll")):
        assert manifest.depth in ("probe", "kernels")
    assert len(manifest.sources) == len({source.name for source in manifest.sources})
    assert main(["analyze", str(run), "--json"]) == 0


@pytest.mark.parametrize("label", THREADS)
def test_a_thread_of_a_collector_that_raises_ends_that_collector(
    recordings: Path, label: str
) -> None:
    manifest, statuses, problems = manifest_of(recordings / label)
    assert [name for name, status in statuses.items() if status == "failed"] == [label]
    assert len(problems) == 1 and FAULT in problems[0] and manifest.finished
    assert statuses["host"] in ("ok", "partial")


@pytest.mark.parametrize("label", OWN_STEPS)
def test_a_fault_in_the_recorder_ends_the_recording_with_a_final_manifest(
    recordings: Path, label: str
) -> None:
    manifest, statuses, problems = manifest_of(recordings / label)
    assert problems and all(FAULT in problem for problem in problems)
    if label == "manifest":  # the final manifest could not be written either
        assert not manifest.finished
    else:
        assert manifest.finished and FAULT in (manifest.end_reason or "")
        assert "failed" not in statuses.values()
    if label not in ("manifest", "first refresh"):
        assert statuses["host"] in ("ok", "partial")
        assert any(StoredRun.open(recordings / label).rows("host.counters"))
    assert main(["analyze", str(recordings / label), "--json"]) == 0


PATCHED = r"""
import sys
from perfscope.agent.collectors import {owner}
from perfscope.agent.recording.recorder import Plan, Recorder
from perfscope.cli import main
def fail(*arguments):
    raise ValueError("injected\x1b[31m\nfault")
{owner}.poll = fail
sys.exit(main(sys.argv[1:]))
"""


def test_the_command_prints_one_line_about_a_failed_collector_and_the_diagnosis(
    tmp_path: Path,
) -> None:
    with waiting_process() as waiting:
        options = ["--depth", "observe", "--duration", "1", "--json", "--out", tmp_path / "run"]
        patched = [sys.executable, "-c", PATCHED.format(owner="Host")]
        command = [*patched, "attach", str(waiting), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if line.startswith("perfscope: ")]
    assert done.returncode == 0 and len(lines) == 1 and "host" in lines[0] and "fault" in lines[0]
    assert "Traceback" not in done.stderr and "\x1b" not in lines[0]
    assert source_statuses(json.loads(done.stdout))["host"] == "failed"


def test_a_terminal_that_is_closed_ends_the_recording_with_a_final_manifest(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with waiting_process() as waiting:
        command = perfscope(
            "attach", str(waiting), "--depth", "observe", "--follow", "--json", "--out", out
        )
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as agent:
            until(lambda: any((out / "streams").glob("host.counters@*/*")))
            agent.send_signal(signal.SIGHUP)
            printed, _ = agent.communicate(timeout=60)
    assert agent.returncode == 0 and json.loads(printed)["sources"]
    assert StoredRun.open(out).manifest.finished


def test_ctrl_c_during_a_recording_is_raised_and_the_run_folder_is_finished(tmp_path: Path) -> None:
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    with waiting_process() as waiting:
        recorder = Recorder(Plan(waiting, tmp_path / "run", "observe", 5.0))
        with pytest.raises(KeyboardInterrupt):
            recorder.record(interrupt)
    manifest = StoredRun.open(tmp_path / "run").manifest
    assert manifest.finished and manifest.end_reason == "interrupted"
    assert {source.name for source in manifest.sources} >= {"host", "thread_states"}


def test_every_collector_has_a_different_name() -> None:
    assert len(SOURCES) == len(COLLECTORS)


def test_probes_leave_also_if_their_collector_can_neither_poll_nor_stop(
    looping: Run, tmp_path: Path
) -> None:
    before = looping.state()
    case = Case(
        "", looping.pid, str(tmp_path / "run"), "Probes", "poll", 10, "probe", 6.0, also="stop"
    )
    command = [sys.executable, "-m", "tests.safety.faulty_recordings"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True) as agent:
        assert agent.stdin is not None
        agent.stdin.write(encoded([[case]]))
        agent.stdin.close()
        until(lambda: (tmp_path / "run").exists())
        until(lambda: looping.state()["hooks"] != before["hooks"])
        until(lambda: looping.state() == before, 10)
        assert agent.poll() is None, "the probe must leave while the recording continues"
        assert agent.wait(60) == 0
    assert manifest_of(tmp_path / "run")[1]["host"] in ("ok", "partial")
