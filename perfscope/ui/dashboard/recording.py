"""A recording that runs beside the dashboard in a process of its own: looking never slows it, and
it outlives no dashboard.
"""

import subprocess
import sys
import time
from pathlib import Path

from perfscope.errors import PerfscopeError
from perfscope.traces.run.stored import is_run

APPEARS_S = 20.0
ENDS_S = 30.0


class Recording:
    """`perfscope attach PID --steered`, and the pipe that steers it."""

    def __init__(self, pid: int, out: Path, options: list[str]) -> None:
        self.pid, self.out = pid, out
        command = [
            sys.executable,
            "-m",
            "perfscope",
            "attach",
            str(pid),
            "--steered",
            f"--out={out}",
            *options,
        ]
        # A session of its own: Ctrl-C in the terminal is for the dashboard, which says `stop`.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def appeared(self) -> None:
        """Wait until there is a run folder. Raises PerfscopeError when the recording ends before
        (its message is on stderr).
        """
        deadline = time.monotonic() + APPEARS_S
        while not is_run(self.out):
            code = self.process.poll()
            if code is not None:
                raise PerfscopeError(
                    f"the recording of process {self.pid} did not start, see above"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise PerfscopeError(
                    f"the recording of process {self.pid} has not started within {APPEARS_S:g} s"
                )
            time.sleep(0.05)

    def window(self) -> bool:
        """Ask it for a window of torch's profiler now; False when it has ended. Returns at once."""
        pipe = self.process.stdin
        if pipe is None or pipe.closed:
            return False
        try:
            pipe.write(b"window\n")
            pipe.flush()
        except OSError:
            return False
        return True

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Ask it to end in good order; returns at once."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(b"stop\n")
                pipe.close()
            except OSError:  # it has ended by itself
                return

    def close(self) -> None:
        """Stop it and wait until its run is whole."""
        self.stop()
        try:
            self.process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()
