"""The guard of each step of a recording: an exception ends only that step.

No exception in a collector, its threads or the recorder may end a recording without a manifest, or
`perfscope run` before its command. KeyboardInterrupt and SystemExit are not caught.
"""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from perfscope.errors import PerfscopeError
from perfscope.traces.privacy.secret_masking import mask_text

PACKAGE = str(Path(__file__).parents[1])
LONGEST_REASON = 300

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a step failed, in one line."""

    reason: str


class StepFailed(PerfscopeError):
    """A step failed on a thread of the collector; the message is the reason."""


def attempt(step: Callable[[], Result]) -> Result | Failure:
    """Return what `step` returns, or the failure that ended it."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001  one failed step must not end the recording
        return Failure(reason_of(error))


class GuardedThread(threading.Thread):
    """A thread whose failure is kept in `failure`, for its owner to report, and not printed."""

    failure: Failure | None = None

    def run(self) -> None:
        result = attempt(super().run)
        self.failure = result if isinstance(result, Failure) else None

    def raise_failure(self) -> None:
        """Raise StepFailed when the thread has failed."""
        if self.failure is not None:
            raise StepFailed(self.failure.reason)


def reason_of(error: Exception) -> str:
    """Return the message of an error in one line.

    An unexpected error comes with its type and the line of perfscope that raised it.
    """
    if isinstance(error, PerfscopeError):
        return short_reason(str(error))
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        message = error.strerror
        if error.filename is not None:
            message = f"{error.filename}: {message}"
    text = type(error).__name__
    if message:
        text += f": {message}"
    return short_reason(text, LONGEST_REASON) + place_of(error)


def place_of(error: Exception) -> str:
    """Return the file and line of perfscope that raised an error, in parentheses; empty if none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(PACKAGE) and frame.filename != __file__
    ]
    if not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"


def short_reason(text: str, longest: int = 4 * LONGEST_REASON) -> str:
    """Return `text` in one line, shortened, without secrets and control characters."""
    line = " ".join(mask_text(text).split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."
