"""Callers of an agent and of a probe: an agent reads nothing from other users, and a process that
took an agent's address receives nothing.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.agent.delivery.discarded_descriptors import close_discarded
from perfscope.agent.delivery.peer_credentials import Peer, is_memory_file, listener_seen_by
from perfscope.agent.delivery.probe_connection import (
    FIRST_BYTES,
    LONGEST_FRAME_BYTES,
    accept,
    listen,
)
from perfscope.agent.delivery.probe_notes import UpdatesNote
from perfscope.agent.host import proc
from perfscope.agent.probe import connection
from perfscope.agent.profiler_windows import dynolog
from perfscope.errors import CollectorUnavailable
from tests.agent.test_probe_connection import connected_pair
from tests.safety.other_user import (
    FLOOD,
    NOBODY,
    addresses_of,
    needs_root,
    resident_bytes,
    run_as_nobody,
)
from tests.target_processes import (
    TARGETS,
    Run,
    attach,
    end,
    perfscope,
    source_statuses,
    start,
    until,
)

MB = 1 << 20
NAMESPACES = [
    "--user",
    "--map-root-user",
    "--pid",
    "--net",
    "--mount",
    "--fork",
    "--kill-child",
    "--mount-proc",
]
UNSHARED = (
    shutil.which("unshare")
    and subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True).returncode == 0
)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = start("looping.py", tmp_path_factory.mktemp("training"), "--workers", "0")
    yield run
    end(run)


def frame(kind: bytes, payload: bytes) -> bytes:
    return struct.pack("<cI", kind, len(payload)) + payload


@needs_root
def test_a_flood_from_another_user_loses_no_data_and_uses_no_memory(
    training: Run, tmp_path: Path
) -> None:
    command = perfscope(
        "attach", str(training.pid), "--duration", "6", "--depth", "probe", "--json", "--out"
    )
    agent = subprocess.Popen(
        [*command, tmp_path / "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = addresses_of(agent.pid)[0]
    manifest = tmp_path / "run" / "manifest.json"
    until(lambda: '"depth": "probe"' in manifest.read_text())
    before, most = resident_bytes(agent.pid), 0
    flood = run_as_nobody(FLOOD, address, "20000", "200000", "3")
    while flood.poll() is None:
        most = max(most, resident_bytes(agent.pid))
        time.sleep(0.05)
    made, sent = map(int, flood.communicate()[0].split())
    out, err = agent.communicate(timeout=60)
    assert agent.returncode == 0, err
    answer = json.loads(out)
    assert made > 100 and sent > 0
    assert most - before < 10 * MB
    assert source_statuses(answer)["probe"] == "ok" and answer["dropped"] == []
    assert answer["steps"]["count"] > 20


@needs_root
def test_frames_of_another_user_are_not_read() -> None:
    listening, address = listen(os.getpid())
    with listening:
        stranger = run_as_nobody(FLOOD, address, "3", "3", "5")
        stranger.wait()
        made, _ = map(int, stranger.communicate()[0].split())
        assert made == 3
        assert accept(listening, {0, os.geteuid()}) == []


def test_only_a_few_bytes_of_a_caller_without_a_token_are_read() -> None:
    caller, connection = connected_pair()
    caller.setblocking(False)
    with caller:
        sent = 0
        try:
            while sent < 10 * MB:
                sent += caller.send(frame(b"J", b"x" * MB)[: 1 << 16])
                connection.receive()
        except BlockingIOError:
            pass
        assert sent > FIRST_BYTES and len(connection.buffer) == FIRST_BYTES
        connection.trusted = True
        connection.receive()
        assert len(connection.buffer) > FIRST_BYTES
    connection.close()


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"J", b"{not json"),
        frame(b"J", b'[{"note": "failed", "name": "\\udc80", "error": ""}]'),
        frame(b"J", b'[{"note": "unknown"}]'),
        frame(b"J", b'[{"note": "updates", "count": 1, "ended_ns": 9223372036854775808}]'),
        frame(b"J", b"[1]"),
        frame(b"J", b"[" * 100_000),
        frame(b"R", b"seven b"),
        frame(b"Q", b""),
        struct.pack("<cI", b"J", LONGEST_FRAME_BYTES + 1),
    ],
    ids=[
        "not JSON",
        "half a surrogate",
        "unknown note",
        "number too large",
        "not a note",
        "nested",
        "half a record",
        "unknown kind",
        "too long",
    ],
)
def test_a_frame_that_cannot_be_read_ends_that_connection(sent: bytes) -> None:
    caller, connection = connected_pair()
    with caller:
        connection.trusted = True
        caller.sendall(frame(b"J", b'[{"note": "updates", "count": 1, "ended_ns": 2}]'))
        caller.sendall(sent)
        notes, records = connection.frames()
    assert notes == [UpdatesNote(count=1, ended_ns=2)] and not records
    assert connection.damaged and not connection.open
    connection.close()


def test_unrequested_descriptors_are_bounded_and_closed() -> None:
    caller, connection = connected_pair()
    before = len(os.listdir("/proc/self/fd"))
    with caller:
        connection.trusted = True
        null = os.open(os.devnull, os.O_RDONLY)
        for _ in range(40):
            socket.send_fds(caller, [frame(b"J", b"[]")], [null] * 4)
        os.close(null)
        connection.frames()
        assert connection.damaged
        connection.close()
    close_discarded()
    assert len(os.listdir("/proc/self/fd")) <= before - 2


LINGER = """
import array, os, socket, struct, sys, time
server = socket.create_server(("127.0.0.1", 0))
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
tcp = socket.create_connection(server.getsockname())
held, _ = server.accept()
tcp.setblocking(False)
try:
    while True:
        tcp.send(b"x" * 65536)
except BlockingIOError:
    pass
tcp.setblocking(True)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
agent.connect("\\0" + sys.argv[1])
rights = array.array("i", [tcp.fileno()])
agent.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
tcp.close()
print("sent", flush=True)
time.sleep(60)
"""


@needs_root
@pytest.mark.parametrize("trusted", [False, True])
def test_a_descriptor_whose_last_close_would_sleep_is_closed_by_a_process_that_ends(
    trusted: bool,
) -> None:
    """Another user, or a process of the target's user, sends a socket with SO_LINGER and unsent
    data.
    """
    listening, address = listen(os.getpid())
    stranger = run_as_nobody(LINGER, address)
    try:
        assert stranger.stdout is not None and stranger.stdout.readline() == "sent\n"
        with listening:
            began = time.monotonic()
            connections = accept(listening, {NOBODY} if trusted else {0})
            assert len(connections) == trusted
            for connection in connections:
                connection.receive()
                assert len(connection.files) == 1
                connection.close()
            close_discarded()
            assert time.monotonic() - began < 25, "its sender asked for 30 s"
    finally:
        stranger.kill()
        stranger.communicate()


def test_only_memory_files_are_accepted(tmp_path: Path) -> None:
    """Reading a FIFO would wait for its writer, and reading a file on a file system of the user for
    that user.
    """
    memory = os.memfd_create("test")
    (tmp_path / "file").write_bytes(b"x")
    plain = os.open(tmp_path / "file", os.O_RDONLY)
    reading, writing = os.pipe()
    try:
        assert [is_memory_file(descriptor) for descriptor in (memory, plain, reading)] == [
            True,
            False,
            False,
        ]
    finally:
        for descriptor in (memory, plain, reading, writing):
            os.close(descriptor)


def test_a_later_process_with_the_same_pid_is_another_peer() -> None:
    assert Peer(7, 0, 100).is_process(7, 100)
    assert not Peer(7, 0, 100).is_process(7, 101)
    assert Peer(7, 0, 0).is_process(7, 101), "one that has ended by now is known by its pid only"


@needs_root
def test_a_probe_closes_its_connection_to_any_process_but_its_agent() -> None:
    """Any user can take the address of an agent that has ended."""
    squatter = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.bind("\\0" + sys.argv[1]); s.listen()
print("listening", flush=True)
while True: time.sleep(1)
"""
    for user, uid in (("other", None), ("own", os.geteuid())):
        address = f"perfscope-test-{user}-{os.getpid()}"
        command = [sys.executable, "-c", squatter, address]
        taken = (
            run_as_nobody(squatter, address)
            if uid is None
            else subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
        )
        try:
            assert taken.stdout is not None and taken.stdout.readline() == "listening\n"
            listener = {"pid": os.getpid(), "start": 0, "uid": os.geteuid()}
            with pytest.raises(PermissionError):
                connection.connect({"address": address, "listener": listener})
        finally:
            taken.kill()
            taken.communicate()


def test_a_probe_accepts_its_agent_and_not_a_later_process_with_its_pid() -> None:
    listening, address = listen(os.getpid())
    begun_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    with listening:
        for start_ticks, known in ((begun_ticks, True), (begun_ticks + 1, False)):
            listener = {"pid": os.getpid(), "start": start_ticks, "uid": os.geteuid()}
            if known:
                connection.connect({"address": address, "listener": listener}).close()
            else:
                with pytest.raises(PermissionError):
                    connection.connect({"address": address, "listener": listener})


@pytest.mark.skipif(not UNSHARED, reason="needs leave to make namespaces")
def test_agent_and_probe_recognize_each_other_across_namespaces(
    tmp_path: Path,
) -> None:
    """Inside the namespaces the agent has no pid, and its user may have another number."""
    inside = [
        "unshare",
        *NAMESPACES,
        sys.executable,
        str(TARGETS / "looping.py"),
        str(tmp_path / "steps"),
    ]
    process = subprocess.Popen(
        [*inside, "--workers", "0"], text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    run = Run(process, tmp_path / "steps")
    try:
        until(lambda: len(run.lines()) >= 20, 60)
        pid = max(proc.children(process.pid))
        assert listener_seen_by(pid, os.getpid()) == {"pid": 0, "start": 0, "uid": 0}
        answer = attach(pid, tmp_path / "run", "--depth", "probe")
        assert source_statuses(answer)["probe"] == "ok" and answer["steps"]["count"] > 20
    finally:
        end(run)


def test_names_that_are_not_unicode_reach_the_agent() -> None:
    text = connection.encode_notes([{"name": os.fsdecode(b"caf\xe9.py"), "loop": "\ud83d"}])
    assert json.loads(text) == [{"name": "caf?.py", "loop": "?"}]


def test_a_script_in_a_folder_whose_name_is_not_unicode_is_recorded(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    target = Path(__file__).parent.parent / "agent" / "targets" / "looping.py"
    shutil.copy(target, os.fsdecode(folder + b"/looping\xff.py"))
    command = perfscope(
        "run",
        "--depth",
        "probe",
        f"--json={tmp_path / 'answer.json'}",
        "--out",
        tmp_path / "run",
        "--",
    )
    words = [
        sys.executable,
        os.fsdecode(folder + b"/looping\xff.py"),
        tmp_path / "steps",
        "--workers",
        "0",
        "--steps",
        "100",
    ]
    done = subprocess.run(command + words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert source_statuses(answer)["probe"] == "ok" and answer["steps"]["count"] > 20


def test_datagrams_without_an_address_are_ignored() -> None:
    try:
        listening = dynolog.listen_as_daemon(os.getpid())
    except CollectorUnavailable as taken:
        pytest.skip(str(taken))
    with listening as daemon, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed:
        unnamed.connect(dynolog.NAME)
        for text in (
            b"",
            b"x",
            dynolog.HEAD.pack(0, b"req"),
            dynolog.HEAD.pack(1 << 60, b"ctxt") + b"y" * 100,
        ):
            unnamed.send(text)
        assert dynolog.receive_messages(daemon) == []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named:
            named.bind(f"\0perfscope-test-{os.getpid()}")
            named.sendto(dynolog.HEAD.pack(0, b"req"), dynolog.NAME)
            (message,) = dynolog.receive_messages(daemon)
            assert (message.kind, message.pid, message.uid) == ("req", os.getpid(), os.geteuid())
