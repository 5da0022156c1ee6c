"""How far the reading of a large trace is: a bar on a terminal, a line now and then elsewhere,
nothing for what takes no time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from perfscope.ui.terminal.output import filtered_console

if TYPE_CHECKING:
    from rich.progress import Progress

SHOWN_AFTER_S = 1.0
LINE_EVERY_S = 5.0


class ReadingBar:
    """Called as `traces.reading_options.ProgressCallback`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.began_s = time.monotonic()
        self.bar: Progress | None = None
        self.next_line_s = SHOWN_AFTER_S

    def __call__(self, done_bytes: int, file_bytes: int, text_bytes: int) -> None:
        passed_s = time.monotonic() - self.began_s
        if passed_s < SHOWN_AFTER_S:
            return
        rate = f"{text_bytes / 1e6 / passed_s:.0f} MB/s"
        if self.stream.isatty():
            self.draw(done_bytes, file_bytes, rate)
        elif passed_s >= self.next_line_s:
            self.next_line_s = passed_s + LINE_EVERY_S
            share = done_bytes / max(file_bytes, 1)
            print(
                f"reading: {share:.0%} after {passed_s:.0f} s, {rate}", file=self.stream, flush=True
            )

    def draw(self, done_bytes: int, file_bytes: int, rate: str) -> None:
        if self.bar is None:
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            self.bar = Progress(
                TextColumn("reading"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=filtered_console(self.stream),
                transient=True,
            )
            self.bar.add_task("reading", total=file_bytes, rate=rate)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=done_bytes, rate=rate)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def reading_bar(stream: TextIO) -> Iterator[ReadingBar]:
    """A bar for as long as the `with` lasts."""
    bar = ReadingBar(stream)
    try:
        yield bar
    finally:
        bar.close()
