"""Entries whose tracer is killed, and programs that detect any change of their state."""

import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from perfscope.agent.entry import enter, ptrace
from perfscope.agent.entry.tracer_process import EntryReport, enter_from_child
from perfscope.agent.host import proc

VECTORS = """
import select, sys, torch
torch.set_num_threads(1)
torch.manual_seed(0)
a, b = torch.randn(96, 96), torch.randn(96, 96)
def work():
    x = a
    for _ in range(20):
        x = torch.tanh(x @ b) + torch.exp(-x * x)
    return x.double().sum().item(), hash(x.numpy().tobytes())
expected = work()
print("ready", flush=True)
rounds = wrong = 0
while not select.select([0], [], [], 0)[0]:
    rounds += 1
    wrong += work() != expected
print("rounds", rounds > 0, "wrong", wrong, flush=True)
"""
COUNTING = """
import select
def work():
    total = 0.0
    for number in range(1, 100_000):
        total += number ** 0.5 / (1.0 + total * 1e-9)
    return total
expected = work()
print("ready", flush=True)
rounds = wrong = 0
while not select.select([0], [], [], 0)[0]:
    rounds += 1
    wrong += work() != expected
print("rounds", rounds > 0, "wrong", wrong, flush=True)
"""
EPOLL = """
import select
e = select.epoll()
e.register(0, 1)
print("ready", flush=True)
print([(file, event & 1) for file, event in e.poll()], flush=True)  # or EPOLLHUP, too
"""
NANOSLEEP = """
import ctypes, time
c = ctypes.CDLL(None, use_errno=True)
t = (ctypes.c_long * 2)(SECONDS, 0)
print("ready", flush=True)
ctypes.set_errno(0)
began = time.monotonic()
print(c.nanosleep(t, None), ctypes.get_errno(), round(time.monotonic() - began), flush=True)
"""
POLL = """
import ctypes, time
c = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
ctypes.set_errno(0)
began = time.monotonic()
result, error = c.poll(None, 0, SECONDS * 1000), ctypes.get_errno()
print(result, error, round(time.monotonic() - began), flush=True)
"""
SELECT = """
import select, time
print("ready", flush=True)
began = time.monotonic()
print(select.select([], [], [], SECONDS), round(time.monotonic() - began), flush=True)
"""
SIGNALS = """
import os, select, signal
reading, writing = os.pipe()
os.set_blocking(reading, False)
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing, warn_on_full_buffer=True)
for number in range(34, 38):
    signal.signal(number, lambda *_: None)
print("ready", flush=True)
received = 0
ended = False
while not ended:
    sum(range(300_000))  # more than 10 ms without releasing the GIL, so that entries get it
    ended = bool(select.select([0], [], [], 0)[0])
    try:
        while piece := os.read(reading, 65536):
            received += len(piece)
    except BlockingIOError:
        pass
print(received, flush=True)
"""


def begin(program: str, seconds: int = 0) -> subprocess.Popen[str]:
    """Start `program` and wait until it is ready; SECONDS in it is replaced."""
    text = program.replace("SECONDS", str(seconds))
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill the program if it still runs, and close its pipes."""
    process.kill()
    process.communicate()


def end_and_read_last_line(process: subprocess.Popen[str]) -> str:
    """Write `end` to the program, and return its last line."""
    assert process.stdin is not None
    process.stdin.write("end\n")
    process.stdin.flush()
    return last_line(process)


def last_line(process: subprocess.Popen[str]) -> str:
    """Wait for the program's end and return its last line, or its exit code if it failed."""
    out = process.communicate(timeout=120)[0]
    return out.strip() if process.returncode == 0 else f"exit code {process.returncode}"


def entry_killed_at(pid: int, number: int) -> bool:
    """Enter `pid` in a child process that kills itself before its ptrace request `number`; return
    False if it needed fewer.
    """
    child = os.fork()
    if child == 0:
        request, made = ptrace.call_ptrace, 0

        def counted(code: int, tid: int, address: int = 0, data: object = 0) -> int:
            nonlocal made
            if made == number:
                os.kill(os.getpid(), signal.SIGKILL)
            made += 1
            return request(code, tid, address, data)

        try:
            ptrace.call_ptrace = counted
            enter(pid, "pass", deadline_s=30)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def entry_killed_after(pid: int, delay_s: float) -> bool:
    """Enter `pid` in a child process that is killed `delay_s` after it has become the tracer;
    return False if the entry ended earlier.
    """
    child = os.fork()
    if child == 0:
        try:
            enter(pid, "pass", deadline_s=30)
        finally:
            os._exit(0)
    while int(proc.read_status(pid)["TracerPid"]) == 0:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
    until = time.perf_counter() + delay_s
    while time.perf_counter() < until:
        pass
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


class SignalSender:
    """A thread that sends queued signals to a process, each of which must arrive."""

    def __init__(self, pid: int, interval_s: float = 0.0003) -> None:
        self.pid, self.interval_s = pid, interval_s
        self.sent = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        """Send until `stop`."""
        choice = random.Random(7)
        while not self.ended.is_set():
            os.kill(self.pid, choice.randrange(34, 38))
            self.sent += 1
            time.sleep(self.interval_s)

    def stop(self) -> int:
        """Stop sending; return how many were sent."""
        self.ended.set()
        self.thread.join()
        return self.sent


def mapped_code_pages(pid: int) -> int:
    """Return how many anonymous mappings of code the process has."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sum(line.split()[1] == "r-xp" and len(line.split()) == 5 for line in lines)


class TracerFault:
    """A context in which a tracer that this process forks calls `fault` before one of its ptrace
    requests.
    """

    def __init__(self, fault: Callable[[], None], request_number: int) -> None:
        self.fault, self.request_number = fault, request_number
        self.made = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def happened(self) -> bool:
        """Return whether `fault` was called."""
        return bool(self.made[0])

    def __enter__(self) -> "TracerFault":
        self.request, made = ptrace.call_ptrace, 0

        def counted(code: int, tid: int, address: int = 0, data: object = 0) -> int:
            nonlocal made
            if made == self.request_number and not self.happened:
                self.made[0] = 1
                self.fault()
            made += 1
            return self.request(code, tid, address, data)

        ptrace.call_ptrace = counted
        return self

    def __exit__(self, *_: object) -> None:
        ptrace.call_ptrace = self.request


def kill_itself() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop_itself() -> None:
    """Stop this process until it is sent SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def wait_idly() -> None:
    """Do nothing for longer than any entry lasts."""
    time.sleep(3600)


def enter_with_fault(
    pid: int, source: str, fault: Callable[[], None], request_number: int
) -> tuple[EntryReport, bool]:
    """Enter as the agent does, with a tracer that calls `fault` before its ptrace request
    `request_number`.

    Returns the report and whether the tracer reached that request.
    """
    with TracerFault(fault, request_number) as tracer_fault:
        entering = enter_from_child(pid, source, 60.0)
        while (report := entering.report()) is None:
            time.sleep(0.001)
        return report, tracer_fault.happened
