"""Programs that run as the user `nobody`, and what such a user can see of an agent.

Also the plain process that tests record if it does not matter what the process does.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfscope.agent.collector import TargetProcess

NOBODY = pwd.getpwnam("nobody").pw_uid
PYTHON_FOR_ALL = shutil.which("python3", path="/usr/bin:/usr/local/bin")
"""The Python of the tests may be installed where only root may read."""
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or PYTHON_FOR_ALL is None,
    reason="needs root, a second uid and a Python for it",
)

TARGET = TargetProcess(0, 1, 1, 1, -1, "main", 0, 0, "python", True, True)
"""A process of a job, where a test needs one only by name."""

WAITING = "import time\nwhile True: time.sleep(0.01)"

FLOOD = """
import os, random, socket, sys, time
address = "\\0" + sys.argv[1]
connections, frames, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
rng, until, sent, made = random.Random(7), time.monotonic() + seconds, 0, 0
while made < connections and time.monotonic() < until:
    try:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(0.5)
        s.connect(address)
        made += 1
        for _ in range(max(frames // connections, 1)):
            length = rng.randrange(1 << 32).to_bytes(4, "little")
            s.send(b"J" + length + rng.randbytes(rng.randrange(64)))
            sent += 1
    except OSError:
        pass
    finally:
        s.close()
print(made, sent, flush=True)
"""


def run_as_nobody(program: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start Python text as `nobody`, with an empty environment."""
    command = [PYTHON_FOR_ALL or "", "-I", "-S", "-c", program, *arguments]
    return subprocess.Popen(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={},
        text=True,
        stdout=subprocess.PIPE,
    )


def addresses_of(agent_pid: int, seconds: float = 30.0) -> list[str]:
    """Wait for the abstract names that an agent listens on, as every local user sees them."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lines = Path("/proc/net/unix").read_text().splitlines()
        found = [line.split()[-1][1:] for line in lines if f"@perfscope-{agent_pid}-" in line]
        if found:
            return sorted(set(found))
        time.sleep(0.05)
    raise AssertionError("the agent listens nowhere")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """Yield a folder of `nobody`, who could not open a folder of pytest."""
    place = Path(tempfile.mkdtemp(prefix="perfscope-test-", dir="/var/tmp"))
    os.chown(place, NOBODY, NOBODY)
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@contextmanager
def waiting_process() -> Iterator[int]:
    """Yield the pid of a Python process that waits; it is killed at the end."""
    with subprocess.Popen([sys.executable, "-c", WAITING]) as waiting:
        try:
            yield waiting.pid
        finally:
            waiting.kill()
