"""A recording in a separate process: viewers do not slow it, and the dashboard ends it."""

import subprocess
import time
from pathlib import Path

from perfscope.errors import PerfscopeError
from perfscope.traces.python_command import module_command
from perfscope.traces.run_folder.stored import is_run

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 30.0


class SteeredRecording:
    """`perfscope attach PID --steered`, and the pipe that steers it."""

    def __init__(self, pid: int, out: Path, options: list[str]) -> None:
        self.pid, self.out = pid, out
        command = module_command(
            "perfscope", "attach", str(pid), "--steered", f"--out={out}", *options
        )
        # A separate session: Ctrl-C in the terminal reaches only the dashboard, which sends `stop`.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def wait_for_run_folder(self) -> None:
        """Wait until the run folder exists.

        Raises PerfscopeError if the recording ends first; that prints its message to stderr.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_run(self.out):
            code = self.process.poll()
            if code is not None:
                raise PerfscopeError(
                    f"the recording of process {self.pid} did not start; its message is above"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise PerfscopeError(
                    f"the recording of process {self.pid} did not start in {START_TIMEOUT_S:g} s"
                )
            time.sleep(0.05)

    def request_window(self) -> bool:
        """Request a window of torch's profiler; return False where the recording has ended."""
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
        """Whether the recording runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Request the end of the recording, without waiting for it."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(b"stop\n")
                pipe.close()
            except OSError:  # it has already ended
                return

    def close(self) -> None:
        """Stop the recording and wait until its run is complete."""
        self.stop()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()
