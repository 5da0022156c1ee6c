"""One stream of a run folder: numbered segments, the open one sealed by a rename. JSON lines for
little, Arrow for much.

`NNNNNN.open` is being written, `NNNNNN.jsonl` or `NNNNNN.arrow` is whole and never changes again. A
writer that is killed leaves an open segment whose last record may be torn; readers count it and go
on. Rows wait in memory until `flush`.
"""

import array
import contextlib
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from perfscope.traces.run.arrow_encoding import END_OF_STREAM, batch_message, schema_message
from perfscope.traces.run.encoding import encode
from perfscope.traces.run.held_folder import HeldFolder
from perfscope.traces.secret_masking import mask_values

SEGMENT_BYTES = 8 << 20
SEGMENT_S = 10.0
NUMBERS = frozenset((int, float, bool, type(None)))


class Stream:
    """Life of the segments; what a segment holds is the subclass's. An I/O error ends in `give_up`,
    never in the caller.

    `name` is the stream's folder in the one that `folders` returns; it is opened for each segment,
    so that a job of many processes does not use twice as many descriptors.
    """

    SUFFIX = ""

    def __init__(
        self, name: str, folders: Callable[[], HeldFolder], give_up: Callable[[OSError], None]
    ) -> None:
        self.name, self.folders, self.give_up = name, folders, give_up
        self.number = 0
        self.file: BinaryIO | None = None
        self.bytes = 0
        self.opened_s = 0.0
        self.sealed: list[tuple[str, int]] = []

    def open(self) -> BinaryIO:
        self.bytes, self.opened_s = 0, time.monotonic()
        with self.folders().opened(self.name) as folder:
            return open(folder.create(self.open_name), "wb", buffering=0)

    @property
    def open_name(self) -> str:
        return f"{self.number:06d}.open"

    def write(self, data: bytes) -> None:
        """Append to the open segment, opening one if there is none; seal it when it is full or
        old.
        """
        try:
            if self.file is None:
                self.file = self.open()
                self.begin()
            self.put(data)
            if self.bytes >= SEGMENT_BYTES or time.monotonic() - self.opened_s >= SEGMENT_S:
                self.seal()
        except OSError as error:
            self.give_up(error)

    def put(self, data: bytes) -> None:
        assert self.file is not None
        written = 0
        while written < len(data):
            written += self.file.write(data[written:]) or 0
        self.bytes += written

    def begin(self) -> None:
        """What every segment starts with."""

    def finish(self) -> None:
        """What every whole segment ends with."""

    def seal(self) -> None:
        if self.file is None:
            return
        file, self.file = self.file, None
        try:
            with file:
                self.finish_into(file)
            name = f"{self.number:06d}{self.SUFFIX}"
            with self.folders().opened(self.name) as folder:
                folder.rename(self.open_name, name)
            self.sealed.append((name, self.bytes))
        except OSError as error:
            self.give_up(error)
        self.number += 1

    def drop_oldest(self) -> int:
        """Remove the oldest sealed segment; returns its size in bytes."""
        name, size = self.sealed.pop(0)
        with contextlib.suppress(OSError), self.folders().opened(self.name) as folder:
            folder.remove(name)
        return size

    def abandon(self) -> None:
        """Leave the open segment as it is."""
        file, self.file = self.file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def finish_into(self, file: BinaryIO) -> None:
        self.file = file
        try:
            self.finish()
        finally:
            self.file = None

    def flush(self) -> None:
        """Hand on what is still held in memory."""

    def close(self) -> None:
        self.flush()
        self.seal()


class JsonLines(Stream):
    """One JSON object a line, written out at `flush`."""

    SUFFIX = ".jsonl"

    def __init__(
        self, name: str, folders: Callable[[], HeldFolder], give_up: Callable[[OSError], None]
    ) -> None:
        super().__init__(name, folders, give_up)
        self.held = bytearray()

    def append(self, row: dict[str, Any]) -> None:
        self.held += encode(masked_row(row)) + b"\n"

    def flush(self) -> None:
        if self.held:
            held, self.held = bytes(self.held), bytearray()
            self.write(held)


def masked_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with the secrets in its texts masked; most rows hold numbers only."""
    texts = {
        name: mask_values(value) for name, value in row.items() if value.__class__ not in NUMBERS
    }
    return row | texts if texts else row


class ArrowRows(Stream):
    """Rows of int64 columns as an Arrow IPC stream, one record batch a flush."""

    SUFFIX = ".arrow"

    def __init__(
        self,
        name: str,
        columns: tuple[str, ...],
        folders: Callable[[], HeldFolder],
        give_up: Callable[[OSError], None],
    ) -> None:
        super().__init__(name, folders, give_up)
        self.columns = columns
        self.held: array.array[int] = array.array("q")

    def append(self, flat: "array.array[int]") -> None:
        """`flat`: rows one behind the other, each of as many int64 as there are columns."""
        self.held.extend(flat)

    def flush(self) -> None:
        if not self.held:
            return
        held, self.held = self.held, array.array("q")
        self.write(batch_message(held, len(self.columns)))

    def begin(self) -> None:
        self.put(schema_message(self.columns))

    def finish(self) -> None:
        self.put(END_OF_STREAM)
