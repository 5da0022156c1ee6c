"""How a recording goes, on stderr while it runs: one line that is rewritten, or a plain line every
five seconds.
"""

import os
import time
from types import TracebackType
from typing import Any, Protocol, TextIO

from perfscope.ui.terminal.output import print_line, unfiltered

PLAIN_EVERY_S = 5.0
LINES_BELOW = 4
"""The clock above a diagnosis that is refreshed in place, the line of progress below it, and some
room.
"""

BAR_CELLS = 30
CLEAR_LINE, CLEAR_SCREEN = "\r\x1b[K", "\x1b[H\x1b[J"


class Standing(Protocol):
    """What a recorder tells of itself."""

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
    """A context manager; `total_s` None means until it is stopped."""

    def __init__(self, stream: TextIO, *, total_s: float | None) -> None:
        self.stream, self.total_s = stream, total_s
        self.terminal = stream.isatty()
        self.cursor = unfiltered(stream)
        self.told_s = -PLAIN_EVERY_S
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

    def progress(self, at: Standing) -> None:
        """Show how far it is."""
        if at.entered_ms is not None and not self.entered and at.depth in ("probe", "kernels"):
            self.entered = True
            self.line(f"entered in {at.entered_ms:.1f} ms")
        if self.terminal:
            self.control(CLEAR_LINE)
            self.stream.write(f"{self.words(at)}   Ctrl-C: stop and report")
            self.stream.flush()
        elif at.elapsed_s - self.told_s >= PLAIN_EVERY_S:
            self.told_s = at.elapsed_s
            self.line(self.words(at))

    def words(self, at: Standing) -> str:
        steps = (
            f"{at.steps} steps, {at.step_ms:.1f} ms each"
            if at.step_ms is not None
            else "no whole step yet"
        )
        if at.depth == "entering":
            steps = "entering"
        if at.depth == "observe":
            steps = "looking from outside"
        processes = f"{at.processes} process{'es' if at.processes != 1 else ''}"
        return f"  {at.elapsed_s:5.1f} s  {self.bar(at.elapsed_s)}{processes}, {steps}"

    def bar(self, elapsed_s: float) -> str:
        if self.total_s is None or not self.terminal:
            return ""
        full = min(BAR_CELLS, int(BAR_CELLS * elapsed_s / self.total_s))
        return "━" * full + "─" * (BAR_CELLS - full) + "  "

    def line(self, text: str) -> None:
        if self.terminal:
            self.control(CLEAR_LINE)
        print_line(text, self.stream)

    def control(self, sequence: str) -> None:
        """Move the cursor or clear: the only place that writes escape sequences here."""
        self.cursor.write(sequence)
        self.cursor.flush()

    def diagnosis(self, diagnosis: Any, trace: Any) -> None:
        """The diagnosis so far, in place of the last one on a terminal, cut to its height; one
        after the other elsewhere.
        """
        from perfscope.ui.terminal.diagnosis_view import show

        rows = (
            os.get_terminal_size(self.stream.fileno()).lines - LINES_BELOW
            if self.terminal
            else None
        )
        if self.terminal:
            self.control(CLEAR_SCREEN)
        self.line(time.strftime("%H:%M:%S"))
        show(diagnosis, trace, self.stream, most_lines=rows)
