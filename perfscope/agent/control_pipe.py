"""Commands to a running recording, one a line on a pipe: what a dashboard's buttons do. The pipe's
end ends the recording.
"""

import io
import threading
from typing import Protocol

from perfscope.agent.collector_guard import GuardedThread

LONGEST_LINE = 1024


class Steered(Protocol):
    """What can be told to a recording."""

    def ask_to_stop(self) -> None: ...
    def ask_for_window(self) -> None: ...


def steer(recorder: Steered, commands: io.RawIOBase) -> threading.Thread:
    """Obey from a thread of its own. Known: `stop`, `window`. Other lines are left unheeded: a
    newer page may say more.

    The pipe is read raw: a buffered reader that is waited on when the interpreter ends would abort
    it.
    """

    def obey() -> None:
        try:
            while line := commands.readline(LONGEST_LINE):
                if line.strip() == b"stop":
                    break
                if line.strip() == b"window":
                    recorder.ask_for_window()
        finally:
            recorder.ask_to_stop()

    thread = GuardedThread(target=obey, name="steering", daemon=True)
    thread.start()
    return thread
