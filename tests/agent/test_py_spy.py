"""py-spy on a process that ends while it is sampled."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from perfscope.agent.collector import TargetProcess
from perfscope.agent.collectors.stacks import MEASURED_AFTER_NS, StackSampling
from perfscope.agent.host import proc
from perfscope.agent.py_spy import PySpy, find_py_spy
from tests.agent.entry.target import BUSY
from tests.running import until


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
    until(lambda: "py-spy" in "".join(proc.command_line(py_spy.pid)[:1]))
    time.sleep(1.0)
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
