"""Programs to enter, and functions that observe them from outside."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

Start = Callable[..., subprocess.Popen[bytes]]
PATIENCE_S = 60.0
READY = 'print("ready", flush=True)'
BUSY = f"""
{READY}
n = 0
while True:
    n += 1
"""
SLEEP = f"import time; {READY}; time.sleep(1000)"


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds; fail with `what` if it does not."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"timed out waiting for {what}"
        time.sleep(0.005)


def read_output(path: Path) -> str:
    """Return what the entered sources have written to `path` so far."""
    return path.read_text() if path.exists() else ""


def wait_for_output(path: Path, expected: str) -> None:
    """Wait until the entered sources have written exactly `expected` to `path`."""
    eventually(lambda: read_output(path) == expected, f"{expected!r} in {path.name}")


def writing(path: Path, what: str = "x") -> str:
    """Return a source that appends `what` to `path`."""
    return f"with open({str(path)!r}, 'a') as out: out.write({what!r})"


def line_of(target: subprocess.Popen[bytes]) -> str:
    """Return the next line that the target prints, empty if it has ended."""
    assert target.stdout is not None
    return target.stdout.readline().decode().rstrip()


def feed(target: subprocess.Popen[bytes], content: bytes) -> None:
    """Write to the target's standard input."""
    assert target.stdin is not None
    target.stdin.write(content)
    target.stdin.flush()


class Footprint:
    """The threads, descriptors and anonymous executable pages (injected code) of a process."""

    def __init__(self, pid: int) -> None:
        self.threads = len(os.listdir(f"/proc/{pid}/task"))
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        self.code_pages = sum(1 for line in maps if re.search(r" r-xp \S+ 00:00 0\s*$", line))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Footprint) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Footprint({vars(self)})"
