"""`py-spy dump`, run once on one process: the Python stack of each of its threads.

It reads the process from outside, as `py_spy` does: without stopping it, and as the user that the
process belongs to.
"""

import os
import subprocess
import time
from dataclasses import dataclass, field

import msgspec

from perfscope.agent.probe.stacks import DEEPEST, is_of_package, short_path
from perfscope.agent.stacks.py_spy import folder_of_process, start_py_spy

LONGEST_DUMP_NS = 4_000_000_000
LARGEST_DUMP_BYTES = 16 << 20


class DumpedFrame(msgspec.Struct):
    """A frame in the output of `py-spy dump`."""

    name: str
    filename: str = "?"
    line: int = 0


class DumpedStack(msgspec.Struct):
    """A thread in the output of `py-spy dump`, its frames innermost first."""

    frames: list[DumpedFrame]
    os_thread_id: int | None = None
    thread_name: str | None = None


@dataclass(frozen=True)
class PythonThread:
    """The name of a thread, and its stack as the probe writes it."""

    name: str
    stack: str


@dataclass
class StackDump:
    """One `py-spy dump` that runs; it never blocks."""

    executable: str
    pid: int
    began_ns: int = field(default_factory=time.monotonic_ns)

    def begin(self) -> None:
        """Start py-spy. Raises OSError; SubprocessError without the rights of the user."""
        self.output = os.memfd_create("perfscope-pyspy-dump")
        self.folder = folder_of_process(self.pid)
        arguments = ("dump", "--json", "--nonblocking")
        try:
            self.process = start_py_spy(self.executable, self.pid, arguments, out=self.output)
        except (OSError, subprocess.SubprocessError):
            os.close(self.output)
            raise

    def result(self) -> dict[int, PythonThread] | None:
        """Return the threads by their ids, None while py-spy runs; none when it failed."""
        if self.process.poll() is None:
            if time.monotonic_ns() - self.began_ns < LONGEST_DUMP_NS:
                return None
            self.process.kill()
            self.process.wait()
        return self.read()

    def end(self, patience_s: float = 0.0) -> dict[int, PythonThread]:
        """End py-spy after a moment; return the threads, none if it was too slow."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return self.read()

    def read(self) -> dict[int, PythonThread]:
        """Return the threads in the output, and close it."""
        with open(self.output, "rb") as file:
            file.seek(0)
            text = file.read(LARGEST_DUMP_BYTES)
        try:
            stacks = msgspec.json.decode(text, type=list[DumpedStack])
        except msgspec.MsgspecError:
            return {}
        return {
            stack.os_thread_id: PythonThread(stack.thread_name or "", self.folded(stack.frames))
            for stack in stacks
            if stack.os_thread_id is not None
        }

    def folded(self, frames: list[DumpedFrame]) -> str:
        """Return a stack in folded form: the innermost frames, the outermost of them first."""
        return ";".join(self.label(frame) for frame in reversed(frames[:DEEPEST]))

    def label(self, frame: DumpedFrame) -> str:
        """Return `function (file:line)` as the probe writes it."""
        file = short_path(frame.filename, self.folder)
        function = frame.name.rsplit(".", 1)[-1] if is_of_package(file) else frame.name
        return f"{function} ({file}:{frame.line})".replace(";", ",")
