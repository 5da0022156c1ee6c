"""Writes one stream of a run folder: numbered segments of JSON lines (few rows) or Arrow (many
rows).

`NNNNNN.open` is being written. A rename seals it as `NNNNNN.jsonl` or `NNNNNN.arrow`, which never
changes again. A writer that is killed leaves an open segment whose last record may be incomplete;
readers skip and count it. Rows stay in memory until `flush`.
"""

import array
import contextlib
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from perfscope.traces.privacy.secret_masking import mask_values
from perfscope.traces.run_folder.arrow_encoding import END_OF_STREAM, batch_message, schema_message
from perfscope.traces.run_folder.json_encoding import encode
from perfscope.traces.run_folder.open_folder import HeldFolder

SEGMENT_BYTES = 8 << 20
SEGMENT_S = 10.0
NUMBERS = frozenset((int, float, bool, type(None)))


class Stream:
    """The segments of a stream; a subclass says what they contain. I/O errors are passed to
    `give_up` and not raised.

    `name` is the stream's folder within the folder that `folders` returns. It is opened once per
    segment, so that a job of many processes needs only one descriptor per stream.
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
        """Create the next segment. Raises OSError."""
        self.bytes, self.opened_s = 0, time.monotonic()
        with self.folders().opened(self.name) as folder:
            return open(folder.create(self.open_name), "wb", buffering=0)

    @property
    def open_name(self) -> str:
        """The name of the segment that is being written."""
        return f"{self.number:06d}.open"

    def write(self, data: bytes) -> None:
        """Append to the open segment, or to a new one; seal it when it is full or old."""
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
        """Append to the open segment. Raises OSError."""
        assert self.file is not None
        written = 0
        while written < len(data):
            written += self.file.write(data[written:]) or 0
        self.bytes += written

    def begin(self) -> None:
        """Write the beginning of a segment. Raises OSError."""

    def finish(self) -> None:
        """Write the end of a segment. Raises OSError."""

    def seal(self) -> None:
        """Complete the open segment, if there is one."""
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
        """Remove the oldest sealed segment. Return its size in bytes."""
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
        """Write the end of the segment in `file`. Raises OSError."""
        self.file = file
        try:
            self.finish()
        finally:
            self.file = None

    def flush(self) -> None:
        """Write the rows that are in memory."""

    def close(self) -> None:
        """Write the rows that are in memory, and seal the open segment."""
        self.flush()
        self.seal()


class JsonLines(Stream):
    """Rows as JSON objects, one per line."""

    SUFFIX = ".jsonl"

    def __init__(
        self, name: str, folders: Callable[[], HeldFolder], give_up: Callable[[OSError], None]
    ) -> None:
        super().__init__(name, folders, give_up)
        self.held = bytearray()

    def append(self, row: dict[str, Any]) -> None:
        """Add a row, with the secrets in its texts masked."""
        self.held += encode(masked_row(row)) + b"\n"

    def flush(self) -> None:
        if self.held:
            held, self.held = bytes(self.held), bytearray()
            self.write(held)


def masked_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the secrets in its texts masked."""
    # Most rows have only numbers, for which this is fast.
    masked = {
        name: mask_values(value) for name, value in row.items() if value.__class__ not in NUMBERS
    }
    return row | masked if masked else row


class ArrowRows(Stream):
    """Rows of int64 columns as an Arrow IPC stream, one record batch per flush."""

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
        """Add rows, which follow each other in `flat` with one int64 per column."""
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
