"""Commands to a running recording, one per line of a pipe.

The buttons of the dashboard send them. The end of the pipe ends the recording.
"""

import io
import threading
from typing import Protocol

from perfscope.agent.collector_guard import GuardedThread

LONGEST_LINE_BYTES = 1024


class ControllableRecording(Protocol):
    """The commands that a recording accepts."""

    def ask_to_stop(self) -> None:
        """End the recording."""

    def ask_for_window(self) -> None:
        """Take a profiling window now."""


def obey_commands(recorder: ControllableRecording, commands: io.RawIOBase) -> threading.Thread:
    """Obey the commands `stop` and `window` on a new thread, which is returned.

    Other lines are ignored, because a newer dashboard may send more. The pipe is not buffered: a
    buffered reader that still waits when the interpreter exits would abort it.
    """

    def read_commands() -> None:
        try:
            while line := commands.readline(LONGEST_LINE_BYTES):
                if line.strip() == b"stop":
                    break
                if line.strip() == b"window":
                    recorder.ask_for_window()
        finally:
            recorder.ask_to_stop()

    thread = GuardedThread(target=read_commands, name="commands", daemon=True)
    thread.start()
    return thread
