"""Names that other programs choose, in texts of the kernel: they add no line and end no source."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from perfscope.agent.engine_metrics.engine_command import recognize_engine
from perfscope.agent.entry.idle_thread import current_wait
from perfscope.agent.entry.symbols import mapped_files
from perfscope.agent.entry.unused_code import code_mappings
from perfscope.agent.host import proc
from perfscope.agent.host.cpu_samples import MappedCode
from perfscope.agent.host.listening_sockets import count_listening_sockets
from perfscope.agent.host.socket_peers import read_sockets
from perfscope.agent.job.roles import place_from_environment

LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\r"
NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
print("named", flush=True)
sys.stdin.read()
"""
FORGED = "0000000000000000: 00000002 00000000 {flags} 0001 01 {inode} @forged"


@pytest.mark.parametrize("end", LINE_ENDS)
def test_the_name_of_a_thread_adds_no_line_to_the_status_of_its_process(end: str) -> None:
    name = f"{end}Tgid:\t1"
    with subprocess.Popen(
        [sys.executable, "-c", NAMED, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as named:
        assert named.stdout is not None and named.stdout.readline() == b"named\n"
        assert proc.process_of_thread(named.pid) == named.pid
        assert proc.namespace_pid(named.pid) == named.pid
        assert proc.read_status(named.pid)["Tgid"] == str(named.pid)
        named.communicate()


MAPPING = """
import ctypes, mmap, sys
ctypes.CDLL(None).prctl(15, b"\\rRssAnon:", 0, 0, 0)
sys.path.insert(0, sys.argv[1])
from perfscope.agent.probe.torch_profiler_api import anonymous_bytes, is_mapped
held, code = [], mmap.PROT_READ | mmap.PROT_EXEC
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        held.append(mmap.mmap(file.fileno(), 0, prot=code, flags=mmap.MAP_PRIVATE))
assert all(map(is_mapped, sys.argv[2:])) and anonymous_bytes() > 1 << 16
print("mapped", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield a process with mapped files whose paths contain what looks like other mappings."""
    ends = ["\r", "\x0b", "\x0b7f0000000000-7f0000001000 r-xp 0 00:00 0 ", os.fsdecode(b"\xe9\r")]
    files = []
    for end in ends:
        folder = tmp_path / f"a{end}zz r-xp zz 00:00 zz "
        folder.mkdir()
        (folder / f"lib{end}x").write_bytes(b"x" * 4096)
        files.append(str(folder / f"lib{end}x"))
    with subprocess.Popen(
        [sys.executable, "-c", MAPPING, str(Path(__file__).parents[2]), *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"mapped\n"
        yield process.pid, files
        process.communicate()


def test_the_path_of_a_mapped_file_adds_no_line(mapping: tuple[int, list[str]]) -> None:
    pid, files = mapping
    assert {file.path for file in mapped_files(pid)} >= set(files)
    assert {code.name for code in code_mappings(pid)} >= set(files)
    shown = {os.fsencode(file).decode("utf-8", "replace") for file in files}
    assert proc.mapped_paths(pid) >= shown
    code = MappedCode(pid)
    code.read()
    assert set(code.names) >= {name.rpartition("/")[2] for name in shown}
    wait = current_wait(pid)
    assert wait is None or wait.switches >= 0


@pytest.fixture
def strange_sockets() -> Iterator[socket.socket]:
    """Yield a socket that listens, among sockets of any user with hostile names."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0perfscope-test-{os.getpid()}")
        listener.listen(1)
        inode = os.fstat(listener.fileno()).st_ino
        names = [
            "a b c d e f g h",
            FORGED.format(flags="notanumber"[:8], inode="x"),
            FORGED.format(flags="00000000", inode=10**18),
            FORGED.format(flags="00010000", inode=inode + 10**12),
            "\x0b".join("abcdefgh"),
        ]
        for number, name in enumerate(names):
            stranger = opened.enter_context(socket.socket(socket.AF_UNIX))
            stranger.bind(f"\0{os.getpid()}-{number}\n{name}\n")
        yield listener


def test_names_of_sockets_of_other_users_end_no_reading(strange_sockets: socket.socket) -> None:
    inode = os.fstat(strange_sockets.fileno()).st_ino
    assert read_sockets(os.getpid()).entries[inode].listens
    assert count_listening_sockets(os.getpid()) is not None


def test_a_socket_that_a_name_describes_again_is_not_known(strange_sockets: socket.socket) -> None:
    inode = os.fstat(strange_sockets.fileno()).st_ino
    with socket.socket(socket.AF_UNIX) as stranger:
        line = FORGED.format(flags="00000000", inode=inode)
        stranger.bind(f"\0{os.getpid()}\n{line}")
        assert inode not in read_sockets(os.getpid()).entries


@pytest.mark.parametrize("package", ["delivery", "entry", "host", "target_user"])
def test_texts_of_the_kernel_are_split_at_newlines_only(package: str) -> None:
    folder = Path(proc.__file__).parents[1] / package
    found = [file.name for file in folder.glob("*.py") if ".splitlines(" in file.read_text()]
    assert found == []


@pytest.mark.parametrize("text", ["9" * 5000, str(1 << 63), "٣", "-1", "1.0", "", " 1", "1\n"])
def test_a_variable_other_than_a_small_number_is_unknown(text: str) -> None:
    assert proc.decimal_number(text) is None
    assert place_from_environment({"RANK": text, "WORLD_SIZE": "2"}, "RANK") == -1
    assert place_from_environment({"RANK": "7", "WORLD_SIZE": text}, "RANK") == 7
    found = recognize_engine(["vllm", "serve", "model", "--port", text])
    assert found is not None and found.port == 8000
