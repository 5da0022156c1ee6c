"""Addresses in the abstract namespace, which any user may take, call and flood, before and after
the agent was killed.

Probes send nothing to a process of another user, and an agent reads nothing from a caller with the
token of another recording.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfscope.agent.delivery.probe_socket import open_probe_socket
from perfscope.agent.probe import connection
from perfscope.agent.recording.recorder import Plan, Recorder
from tests.agent.nvtx.building import need_library
from tests.safety.other_user import addresses_of, needs_root, run_as_nobody
from tests.target_processes import perfscope, until

SQUATTER = """
import array, os, select, socket, sys, time
listening = []
for name in sys.argv[1:]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind("\\0" + name)
            s.listen(64)
            listening.append(s)
            break
        except OSError:
            s.close()
            time.sleep(0.001)
print("taken", len(listening), flush=True)
while select.select(listening, [], [], 60)[0]:
    for called in select.select(listening, [], [], 0)[0]:
        caller, received, files = called.accept()[0], 0, 0
        caller.settimeout(20)
        try:
            while True:
                data, rights, _, _ = caller.recvmsg(65536, 4096)
                files += sum(len(right[2]) // 4 for right in rights)
                received += len(data)
                if not data:
                    break
        except OSError:
            received = received or "the caller stays connected and sends nothing"
        print("called", received, files, flush=True)
"""
"""A program that takes the addresses as soon as they are free, and prints how many bytes and
descriptors each caller sent before it closed the connection.
"""

LATER = """
import os, sys, time
print("there", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
{call}
print("done", flush=True)
"""
CALLS = {"the probe": "import torch", "NVTX": "import nvtx\nnvtx.push_range('x')"}


@contextmanager
def squatted(addresses: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a process of another user that takes the addresses as soon as they are free."""
    squatter = run_as_nobody(SQUATTER, *addresses)
    try:
        yield squatter
    finally:
        squatter.kill()
        squatter.communicate()


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@needs_root
@pytest.mark.parametrize("call", CALLS)
def test_a_command_of_perfscope_run_sends_nothing_to_a_process_that_took_the_agents_address(
    tmp_path: Path, call: str
) -> None:
    if call == "NVTX":
        need_library()
        pytest.importorskip("nvtx")
    text = LATER.format(call=CALLS[call])
    command = [
        *perfscope("run", "--out", tmp_path / "run", "--"),
        sys.executable,
        "-c",
        text,
        tmp_path / "go",
    ]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    (tmp_path / "out").touch()
    with open(tmp_path / "out", "w") as out:
        agent = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        until(
            lambda: (
                (tmp_path / "out").read_text() == "there\n"
                and (tmp_path / "run/manifest.json").exists()
            )
        )
        with squatted(addresses_of(agent.pid)) as squatter:
            agent.kill()
            agent.wait()
            assert line_of(squatter).startswith("taken")
            (tmp_path / "go").touch()
            assert line_of(squatter) == "called 0 0"
            until(lambda: (tmp_path / "out").read_text() == "there\ndone\n", 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(agent.pid, signal.SIGKILL)


PROFILED = """
import os, subprocess, sys, time
from pathlib import Path
import perfscope
from perfscope.profiling import scope, session

def agent_of(link):
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if int(path.parts[2]) != os.getpid() and os.readlink(path) == link:
                return int(path.parts[2])
        except OSError:
            pass

opened = []
open_probe_socket = session.open_probe_socket
def opening():
    probe_socket = open_probe_socket()
    link = os.readlink(f"/proc/self/fd/{probe_socket.listening.fileno()}")
    opened.append((probe_socket.address, link))
    return probe_socket
session.open_probe_socket = opening

with perfscope.profile(depth="probe", show=False) as scope:
    address, link = opened[0]
    agent = agent_of(link)
    print(address, flush=True)
    sys.stdin.readline()
    os.kill(agent, 9)
    sys.stdin.readline()
    import torch
print("done", flush=True)
"""


@needs_root
def test_profile_sends_nothing_to_a_process_that_took_the_agents_address(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = subprocess.Popen(
        [sys.executable, "-c", PROFILED],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdin is not None
        with squatted([line_of(program)]) as squatter:
            program.stdin.write("\n")
            program.stdin.flush()
            assert line_of(squatter) == "taken 1"
            program.stdin.write("\n")
            program.stdin.flush()
            assert line_of(squatter) == "called 0 0"
            out, err = program.communicate(timeout=60)
        assert (program.returncode, out) == (0, "done\n") and "Traceback" not in err
    finally:
        program.kill()
        program.communicate()


def full_backlog(listening: socket.socket) -> list[socket.socket]:
    """Connect until the next caller would have to wait; return the connections."""
    callers: list[socket.socket] = []
    while True:
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.setblocking(False)
        try:
            caller.connect(listening.getsockname())
        except BlockingIOError:
            caller.close()
            return callers
        callers.append(caller)


def waits_in_connect(tid: int) -> bool:
    """Return whether a thread of this process is inside connect(2)."""
    return Path(f"/proc/self/task/{tid}/syscall").read_text().split()[0] == "42"


def own_address(name: str) -> dict[str, object]:
    """Return what a probe knows about a socket of this process."""
    return {"address": name, "listener": {"pid": os.getpid(), "start": 0, "uid": os.geteuid()}}


def test_a_probe_that_calls_during_a_flood_waits_for_its_turn() -> None:
    name, lines = f"perfscope-test-{os.getpid()}", []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind("\0" + name)
        listening.listen(1)
        flood = full_backlog(listening)
        thread = threading.Thread(
            target=lambda: lines.append(connection.connect(own_address(name)))
        )
        thread.start()
        until(lambda: not thread.is_alive() or waits_in_connect(thread.native_id or 0))
        for _ in range(len(flood) + 1):
            listening.accept()[0].close()
        thread.join(30)
    for connected in (*flood, *lines):
        connected.close()
    assert len(lines) == 1 and len(flood) > 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_probe_waits_for_a_limited_time_if_no_process_accepts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECTS_WITHIN_S", 1)
    name = f"perfscope-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind("\0" + name)
        listening.listen(1)
        flood = full_backlog(listening)
        with pytest.raises(OSError):
            connection.connect(own_address(name))
        for connected in flood:
            connected.close()


REPLAYS = r"""
import json, os, socket, struct, sys, time
name, token = sys.stdin.readline().split() if len(sys.argv) < 3 else sys.argv[1:]
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.connect("\0" + name)
hello = {"note": "hello", "token": token, "mono": 1, "real": 1, "cost_ns": 100}
notes = json.dumps([hello]).encode()
s.settimeout(30)
try:
    s.send(struct.pack("<cI", b"J", len(notes)) + notes)
    print(s.recv(1), flush=True)
except ConnectionError:
    print(b"", flush=True)
time.sleep(60)
"""


@needs_root
def test_a_token_gives_no_access_to_processes_of_other_users_or_outside_the_job(
    tmp_path: Path,
) -> None:
    """The same frame is accepted from the process that is recorded."""
    command = [sys.executable, "-c", REPLAYS]
    recorded = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    probe_socket = open_probe_socket()
    recorder = Recorder(
        Plan(recorded.pid, tmp_path / "run", "probe", follow=True, probe_socket=probe_socket)
    )
    thread = threading.Thread(target=lambda: recorder.record(lambda progress: None))
    thread.start()
    others = [
        run_as_nobody(REPLAYS, probe_socket.address, probe_socket.token),
        subprocess.Popen(
            [*command, probe_socket.address, probe_socket.token], stdout=subprocess.PIPE, text=True
        ),
    ]
    try:
        assert recorded.stdin is not None
        assert [line_of(other) for other in others] == ["b''", "b'H'"], (
            "the second one is asked to wait, in vain"
        )
        recorded.stdin.write(f"{probe_socket.address} {probe_socket.token}\n")
        recorded.stdin.flush()
        assert line_of(recorded) == "b'H'"
    finally:
        recorder.ask_to_stop()
        thread.join(60)
        for process in (recorded, *others):
            process.kill()
            process.communicate()
    probe = recorder.collectors.probes
    assert probe is not None and set(probe.sessions) == {recorded.pid}
