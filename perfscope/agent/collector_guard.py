"""Guards each step of a recording: an exception ends only that step and is kept as a reason in one
line.

No exception of a collector, its threads or the recorder may end a recording without a manifest, or
`perfscope run` before its command. KeyboardInterrupt and SystemExit pass.
"""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from perfscope.errors import PerfscopeError
from perfscope.traces.secret_masking import mask_text

PACKAGE = str(Path(__file__).parents[1])
LONGEST_REASON = 300

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a step failed, in one line."""

    reason: str


class StepFailed(PerfscopeError):
    """A step failed elsewhere, on a thread of the collector's; the message is the reason."""


def attempt(step: Callable[[], Result]) -> Result | Failure:
    """Return what `step` returns, or the failure that ended it."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001  one step that breaks must not take the recording along
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
    """Return what `error` says, in one line; of an unexpected error its type and the line of our
    code as well.
    """
    if isinstance(error, PerfscopeError):
        return short_reason(str(error))
    said = str(error)
    if isinstance(error, OSError) and error.strerror:
        said = (
            f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
        )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(PACKAGE)
    ]
    frames = [frame for frame in frames if frame.filename != __file__]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return (
        short_reason(f"{type(error).__name__}{': ' if said else ''}{said}", LONGEST_REASON) + place
    )


def short_reason(text: str, longest: int = 4 * LONGEST_REASON) -> str:
    """Return `text` on one line, shortened, without secrets and control characters."""
    words = " ".join(mask_text(text).split())
    words = "".join(character if character.isprintable() else "?" for character in words)
    return words if len(words) <= longest else words[: longest - 3] + "..."
