"""py-spy on a process that ends while it is sampled, and on the loader workers of a job."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from perfscope.agent.collector import Job, TargetProcess
from perfscope.agent.collectors.stacks import (
    MEASURED_AFTER_NS,
    WORKER_AGE_NS,
    Stacks,
    StackSampling,
)
from perfscope.agent.host import proc
from perfscope.agent.stacks.py_spy import PySpy, PySpyEvent, find_py_spy, read_stacks
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.stored import StoredRun
from tests.agent.entry.target import BUSY
from tests.build import FACTS
from tests.target_processes import until


def py_spy_of(sampling: StackSampling) -> PySpy:
    assert sampling.sampling is not None
    return sampling.sampling


@pytest.fixture
def sampling() -> Iterator[StackSampling]:
    """A process that has ended while py-spy, which is stopped, could not notice it."""
    target = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    described = TargetProcess(0, target.pid, target.pid, 0, 0, "main", 0, 0, "python", True, True)
    sampling = StackSampling(find_py_spy() or "", described)
    py_spy = py_spy_of(sampling).process
    # It sleeps between samples.
    until(lambda: int(proc.read_status(py_spy.pid)["voluntary_ctxt_switches"]) > 20)
    py_spy.send_signal(signal.SIGSTOP)
    target.kill()
    until(lambda: proc.read_status(target.pid)["State"].startswith("Z"))
    yield sampling
    if py_spy.poll() is None:
        py_spy.kill()
        py_spy.communicate()
    target.communicate()


def test_threads_of_an_ended_process_keep_their_handles(sampling: StackSampling) -> None:
    sampling.poll(1.0)
    py_spy_of(sampling).process.send_signal(signal.SIGCONT)
    sampling.end()
    assert not sampling.ended[0][0].handles and sampling.rows()


def test_py_spy_that_costs_too_much_is_not_started_again_for_an_ended_process(
    sampling: StackSampling,
) -> None:
    first = py_spy_of(sampling)
    first.began_ns -= MEASURED_AFTER_NS
    first.process.send_signal(signal.SIGCONT)
    sampling.poll(0.0)
    sampling.end()
    assert sampling.sampling is None and [spy for spy, _ in sampling.ended] == [first]


def test_the_first_worker_that_lives_for_a_while_is_sampled(tmp_path: Path) -> None:
    job = Job(RunWriter.create(tmp_path / "run", msgspec.convert(FACTS, Manifest)), 1)
    targets = [
        subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) for _ in range(3)
    ]
    for number, target in enumerate(targets):
        role = "loader-worker" if number else "main"
        described = (number, target.pid, target.pid, 0, 0, role, 0, 0, "python", True, True)
        job.processes[target.pid] = TargetProcess(*described)
    stacks = Stacks()
    stacks.start(job)
    now_ns = time.monotonic_ns()
    stacks.poll(now_ns)
    assert [spy.target.process for spy in stacks.all_sampled()] == [0]
    del job.processes[targets[1].pid]
    stacks.poll(now_ns + WORKER_AGE_NS)
    assert [spy.target.process for spy in stacks.all_sampled()] == [0, 2]
    time.sleep(2.0)
    status = stacks.stop()
    assert status.status == "ok"
    job.run.close()
    rows = StoredRun.open(tmp_path / "run").rows("pyspy.stacks")
    assert {process for process, _ in rows} == {0, 2}
    for target in targets:
        target.kill()
        target.communicate()


def test_stacks_of_the_probes_thread_and_its_frames_are_left_out() -> None:
    program, wrapper, starter = ("/srv/train.py", 7), ("<perfscope loader>", 3), ("<perfscope>", 25)
    frames = {1: (program, wrapper), 2: (("<string>", 5), starter)}
    events = [
        PySpyEvent(phase, at, thread, "step", {"filename": file, "line": line})
        for phase, at in (("B", 0.0), ("E", 9.0))
        for thread, stack in frames.items()
        for file, line in (stack if phase == "B" else reversed(stack))
    ]
    stacks = list(read_stacks(events, "/srv/"))
    assert [(stack.thread, stack.text) for stack in stacks] == [(1, "step (./train.py:7)")]
