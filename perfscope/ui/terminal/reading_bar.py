"""The progress of reading a large trace: a bar on a terminal, else a line every few seconds."""

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
    """A callback that reading calls with its progress; it shows nothing during the first second."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.began_s = time.monotonic()
        self.bar: Progress | None = None
        self.next_line_s = SHOWN_AFTER_S

    def __call__(self, done_bytes: int, file_bytes: int, text_bytes: int) -> None:
        """Show the progress: bytes of the file that were read, and the size of their text."""
        elapsed_s = time.monotonic() - self.began_s
        if elapsed_s < SHOWN_AFTER_S:
            return
        rate = f"{text_bytes / 1e6 / elapsed_s:.0f} MB/s"
        if self.stream.isatty():
            self.draw(done_bytes, file_bytes, rate)
        elif elapsed_s >= self.next_line_s:
            self.next_line_s = elapsed_s + LINE_EVERY_S
            share = done_bytes / max(file_bytes, 1)
            print(
                f"reading: {share:.0%} after {elapsed_s:.0f} s, {rate}",
                file=self.stream,
                flush=True,
            )

    def draw(self, done_bytes: int, file_bytes: int, rate: str) -> None:
        """Draw the bar on a terminal."""
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
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def reading_bar(stream: TextIO) -> Iterator[ReadingBar]:
    """Provide a bar; it is removed at the end of the `with` block."""
    bar = ReadingBar(stream)
    try:
        yield bar
    finally:
        bar.close()
