"""Entries whose tracer is killed or frozen: the target continues unchanged, and another tracer
completes the entry.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from perfscope.agent.entry import enter, injection
from perfscope.errors import CannotEnter
from tests.agent.entry.target import wait_for_output, writing
from tests.safety.tracer_faults import (
    COUNTING,
    NANOSLEEP,
    SIGNALS,
    VECTORS,
    SignalSender,
    begin,
    end,
    end_and_read_last_line,
    enter_with_fault,
    entry_killed_after,
    entry_killed_at,
    kill_itself,
    last_line,
    stop_itself,
    wait_idly,
)

FEWEST_REQUESTS = 14
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return start(program, seconds=0), which runs a program until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def started_program(program: str, seconds: int = 0) -> subprocess.Popen[str]:
        started.append(begin(program, seconds))
        return started[-1]

    yield started_program
    for process in started:
        end(process)


def test_a_tracer_killed_at_each_of_its_requests_is_replaced(start: Start, tmp_path: Path) -> None:
    target, out = start(COUNTING), tmp_path / "out"
    moment, fault_happened = 0, True
    while fault_happened:
        report, fault_happened = enter_with_fault(target.pid, writing(out), kill_itself, moment)
        assert report.error is None
        moment += 1
        wait_for_output(out, "x" * moment)
    assert moment > FEWEST_REQUESTS
    assert end_and_read_last_line(target) == "rounds True wrong 0"


def test_a_sleep_in_c_lasts_as_long_as_requested(start: Start) -> None:
    """C code that does not handle EINTR: it returns 0 without errno after the requested time."""
    target = start(NANOSLEEP, seconds=6)
    until = time.monotonic() + 5
    moment = 0
    while time.monotonic() < until and entry_killed_at(target.pid, moment):
        moment += 1
    assert moment > 6
    assert last_line(target) == "0 0 6"


def test_vector_registers_are_intact_after_kills_at_many_moments(start: Start) -> None:
    pytest.importorskip("torch")
    target = start(VECTORS)
    killed = sum(entry_killed_after(target.pid, 0.0001 * number) for number in range(12))
    assert killed > 3
    enter(target.pid, "pass")
    assert end_and_read_last_line(target) == "rounds True wrong 0"


def test_no_signal_is_lost_with_a_killed_tracer(start: Start) -> None:
    target = start(SIGNALS)
    sender = SignalSender(target.pid)
    killed = sum(entry_killed_after(target.pid, 0.0001 * number) for number in range(12))
    assert killed > 3
    sent = sender.stop()
    enter(target.pid, "pass")
    assert end_and_read_last_line(target) == str(sent)


@pytest.mark.parametrize(("hang", "moments"), [(stop_itself, (0, 2, 9)), (wait_idly, (6, 12))])
def test_a_tracer_that_hangs_is_killed_and_replaced(
    start: Start, tmp_path: Path, hang: Callable[[], None], moments: tuple[int, ...]
) -> None:
    """At moment 0 the target is not yet stopped; at the later moments it is."""
    target, out = start(COUNTING), tmp_path / "out"
    for count, moment in enumerate(moments, 1):
        report, fault_happened = enter_with_fault(target.pid, writing(out), hang, moment)
        assert (report.error, fault_happened) == (None, True)
        wait_for_output(out, "x" * count)
    assert end_and_read_last_line(target) == "rounds True wrong 0"


def test_a_call_is_completed_without_its_tracer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tracer detaches during a call that takes too long; in this test every call does."""
    target = start(COUNTING)
    with monkeypatch.context() as patch, contextlib.suppress(CannotEnter):
        patch.setattr(injection, "CALL_NS", 0)
        enter(target.pid, "pass", deadline_s=1.0)
    enter(target.pid, "pass")
    assert end_and_read_last_line(target) == "rounds True wrong 0"


def test_neither_tracer_nor_watcher_outlives_an_entry(start: Start) -> None:
    target = start(COUNTING)
    before = set(psutil.pids())
    report, fault_happened = enter_with_fault(target.pid, "pass", stop_itself, 5)
    assert (report.error, fault_happened) == (None, True)
    started = [process for process in psutil.process_iter() if process.pid not in before]
    assert [process for process in started if is_forked(process)] == []


def is_forked(process: psutil.Process) -> bool:
    """Return whether the process was forked from this process."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline() == psutil.Process().cmdline()
    return False
