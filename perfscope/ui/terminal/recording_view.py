"""The progress of a recording on stderr: one line, rewritten on a terminal."""

import os
import time
from types import TracebackType
from typing import Any, Protocol, TextIO

from perfscope.ui.terminal.output import print_line, unfiltered

PLAIN_EVERY_S = 5.0
LINES_BELOW = 4
"""Lines around a diagnosis that is refreshed in place: the clock, the progress, and some space."""

BAR_CELLS = 30
CLEAR_LINE, CLEAR_SCREEN = "\r\x1b[K", "\x1b[H\x1b[J"


class RecordingProgress(Protocol):
    """What the view reads of a recorder."""

    @property
    def elapsed_s(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def step_ms(self) -> float | None: ...
    @property
    def processes(self) -> int: ...
    @property
    def entered_ms(self) -> float | None: ...
    @property
    def depth(self) -> str: ...


class LiveView:
    """A context manager; `total_s` is None where the recording lasts until it is stopped."""

    def __init__(self, stream: TextIO, *, total_s: float | None) -> None:
        self.stream, self.total_s = stream, total_s
        self.terminal = stream.isatty()
        self.cursor = unfiltered(stream)
        self.printed_s = -PLAIN_EVERY_S
        self.entered = False

    def __enter__(self) -> "LiveView":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self.terminal:
            self.control(CLEAR_LINE)

    def progress(self, progress: RecordingProgress) -> None:
        """Show how far the recording is."""
        is_inside = progress.depth in ("probe", "kernels")
        if progress.entered_ms is not None and is_inside and not self.entered:
            self.entered = True
            self.line(f"entered in {progress.entered_ms:.1f} ms")
        if self.terminal:
            self.control(CLEAR_LINE)
            self.stream.write(f"{self.words(progress)}   Ctrl-C: stop and report")
            self.stream.flush()
        elif progress.elapsed_s - self.printed_s >= PLAIN_EVERY_S:
            self.printed_s = progress.elapsed_s
            self.line(self.words(progress))

    def words(self, progress: RecordingProgress) -> str:
        """Return the progress as a line."""
        plural = "es" if progress.processes != 1 else ""
        processes = f"{progress.processes} process{plural}"
        bar = self.bar(progress.elapsed_s)
        return f"  {progress.elapsed_s:5.1f} s  {bar}{processes}, {state_text(progress)}"

    def bar(self, elapsed_s: float) -> str:
        """Return a bar that is full at the end of the recording."""
        if self.total_s is None or not self.terminal:
            return ""
        full = min(BAR_CELLS, int(BAR_CELLS * elapsed_s / self.total_s))
        return "━" * full + "─" * (BAR_CELLS - full) + "  "

    def line(self, text: str) -> None:
        """Print a line that stays."""
        if self.terminal:
            self.control(CLEAR_LINE)
        print_line(text, self.stream)

    def control(self, sequence: str) -> None:
        """Write an escape sequence; nothing else in this class does."""
        self.cursor.write(sequence)
        self.cursor.flush()

    def diagnosis(self, diagnosis: Any, trace: Any) -> None:
        """Show the diagnosis so far; on a terminal it replaces the last one and fits the height."""
        from perfscope.ui.terminal.diagnosis_view import show

        most_lines = None
        if self.terminal:
            most_lines = os.get_terminal_size(self.stream.fileno()).lines - LINES_BELOW
            self.control(CLEAR_SCREEN)
        self.line(time.strftime("%H:%M:%S"))
        show(diagnosis, trace, self.stream, most_lines=most_lines)


def state_text(progress: RecordingProgress) -> str:
    """Return the steps so far, or what the recorder does before there are any."""
    if progress.depth == "observe":
        return "observing from outside the process"
    if progress.depth == "entering":
        return "entering"
    if progress.step_ms is None:
        return "waiting for the first complete step"
    return f"{progress.steps} steps, {progress.step_ms:.1f} ms/step"
