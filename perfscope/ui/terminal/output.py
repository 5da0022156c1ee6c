"""Filters for text that is printed to the terminal.

Text from the recorded program (names, paths, arguments, errors) cannot move the cursor, change
colors, or reverse the direction of the text. Printed with `print_line`, it cannot start a line.

`cli.main` filters stdout and stderr with `protect_streams`, so no other code has to remember it.
Code that draws on the terminal writes to `unfiltered(stream)` and prints with `filtered_console`.
"""

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

WIDEST_TERMINAL = 10_000
"""Columns or lines; larger values of COLUMNS and LINES are mistakes."""
UNUSUAL = re.compile(r"[^\n\t -~]")


def clean_text(text: str) -> str:
    """Return the text with a question mark for each control character but newline and tab.

    These are the controls of ASCII and Latin-1, marks that change the direction of the text, halves
    of surrogate pairs, and all other characters that Python does not call printable.
    """
    return UNUSUAL.sub(lambda match: match[0] if match[0].isprintable() else "?", text)


def one_line(text: str) -> str:
    """Return the text as `clean` does, on one line: newlines and tabs are question marks too."""
    return clean_text(text).replace("\n", "?").replace("\t", "?")


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print the text as one line; on stdout unless a stream is given."""
    print(one_line(text), file=stream if stream is not None else sys.stdout, flush=True)


class WrappedStream(io.TextIOBase):
    """A text stream that passes on to `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors

    @property
    def buffer(self) -> Any:
        return self.stream.buffer


class FilteredStream(WrappedStream):
    """Cleans texts before it writes them to `stream`."""

    def write(self, text: str) -> int:
        return super().write(clean_text(text))


class MessageStream(WrappedStream):
    """Drops texts that `stream` cannot take.

    What is printed on stderr is only about the work. A full disk or the end of the reader must not
    end a recording there.
    """

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def open_closed_streams() -> None:
    """Open the null device in place of standard streams that the parent process closed.

    Otherwise the next file that is opened would get the descriptor of such a stream, and what a
    child process or a library prints would be written into that file. The descriptors are not
    inherited, so a command that perfscope starts finds its streams closed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free descriptor is this one, because the lower ones are open by now.
            opened = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            stream = io.FileIO(opened, mode, closefd=False)
            buffered = io.BufferedReader(stream) if mode == "r" else io.BufferedWriter(stream)
            setattr(sys, name, io.TextIOWrapper(buffered, encoding="utf-8"))


def protect_streams() -> None:
    """Filter stdout and stderr from now on, tracebacks included."""
    open_closed_streams()
    sys.stdout = filtered(sys.stdout)
    if not isinstance(sys.stderr, FilteredStream):
        sys.stderr = filtered(cast(TextIO, MessageStream(sys.stderr)))
    sys.excepthook = print_traceback


def filtered(stream: TextIO) -> TextIO:
    """Return the stream with a filter; one that has a filter is returned unchanged."""
    return stream if isinstance(stream, FilteredStream) else cast(TextIO, FilteredStream(stream))


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream without its filter, for escape sequences of perfscope.

    Texts from elsewhere must be cleaned first.
    """
    return stream.stream if isinstance(stream, FilteredStream) else stream


def print_traceback(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    """Print a traceback without the colors of newer Pythons, which the filter would replace."""
    sys.stderr.write("".join(traceback.format_exception(kind, error, where)))


def filtered_console(stream: TextIO, **options: Any) -> "Console":
    """Return a console that cleans every text it renders; its styles are kept."""
    made: Console = console_class()(
        file=unfiltered(stream),
        highlight=False,
        emoji=False,
        markup=False,
        _environ=console_environment(),
        **options,
    )
    return made


def console_environment() -> dict[str, str]:
    """Return the environment without a size of the terminal in which nothing could be printed."""
    sizes = {name: os.environ.get(name, "") for name in ("COLUMNS", "LINES")}
    odd = [name for name, text in sizes.items() if not 0 < usual_number(text) <= WIDEST_TERMINAL]
    return {name: value for name, value in os.environ.items() if name not in odd}


def usual_number(text: str) -> int:
    """Return a number of at most six digits, 0 for any other text."""
    return int(text) if re.fullmatch("[0-9]{1,6}", text) else 0


@cache
def console_class() -> Any:
    """Return the console class; it is created late because importing rich takes a while."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class FilteredConsole(Console):
        """A console that cleans the rendered text before it is written."""

        def on_broken_pipe(self) -> None:
            raise  # BrokenPipeError, which rich would replace by an exit with code 1

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield (
                    segment if segment.control else Segment(clean_text(segment.text), segment.style)
                )

    return FilteredConsole
