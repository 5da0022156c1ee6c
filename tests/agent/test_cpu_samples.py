"""Samples of the code that a thread runs, taken by the kernel from outside."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from perfscope.agent.host import proc
from perfscope.agent.host.cpu_samples import KERNEL, CpuSampler, MappedCode
from tests.agent.entry.target import BUSY, SLEEP, Footprint
from tests.target_processes import until

PERIOD_NS = 5_000_000
COPYING = """
print("ready", flush=True)
while True:
    b"".join([bytes(1 << 20)] * 8)
"""


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a program and wait for its first line."""
    started: list[subprocess.Popen[bytes]] = []

    def start_program(source: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start_program
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def sample() -> Callable[[int, int], list[str]]:
    """Return the names of the code that a process runs, at least so many samples of it."""

    def libraries(pid: int, count: int) -> list[str]:
        try:
            sampler = CpuSampler(pid, PERIOD_NS)
        except OSError as error:
            pytest.skip(f"the kernel does not permit samples: {error.strerror}")
        code, names = MappedCode(pid), list[str]()
        until(lambda: len(collect(sampler, code, names)) >= count)
        sampler.close()
        return names

    return libraries


def collect(sampler: CpuSampler, code: MappedCode, names: list[str]) -> list[str]:
    """Add the names of the code in new samples."""
    for taken in sampler.read():
        now_ns = time.monotonic_ns()
        names.append(KERNEL if taken.in_kernel else code.name_at(taken.address, now_ns))
    return names


Start = Callable[[str], subprocess.Popen[bytes]]
Sample = Callable[[int, int], list[str]]


def test_a_loop_in_python_runs_the_interpreter(start: Start, sample: Sample) -> None:
    names = Counter(sample(start(BUSY).pid, 200))
    name, count = names.most_common(1)[0]
    assert "python3" in name and count >= 150


def test_copying_memory_runs_the_c_library_or_the_kernel(start: Start, sample: Sample) -> None:
    names = Counter(sample(start(COPYING).pid, 200))
    copying = sum(count for name, count in names.items() if name.startswith(("libc", KERNEL)))
    assert copying >= 150


def test_sampling_leaves_nothing_in_the_process(start: Start, sample: Sample) -> None:
    process = start(BUSY)
    before = Footprint(process.pid)
    sample(process.pid, 50)
    assert Footprint(process.pid) == before
    assert proc.read_status(process.pid)["TracerPid"] == "0"


def test_a_thread_that_waits_has_no_samples(start: Start) -> None:
    try:
        sampler = CpuSampler(start(SLEEP).pid, PERIOD_NS)
    except OSError as error:
        pytest.skip(f"the kernel does not permit samples: {error.strerror}")
    time.sleep(0.3)
    assert len(sampler.read()) <= 2
    sampler.close()


def test_a_process_that_is_gone_is_an_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError):
        CpuSampler(process.pid, PERIOD_NS)
