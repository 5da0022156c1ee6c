"""The text of a trace file, decompressed block by block: memory does not grow with the file."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from isal import isal_zlib
from isal.igzip_lib import IsalError

from perfscope.errors import UnreadableRun
from perfscope.traces.regular_file import open_regular

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_BLOCK: Final = 1 << 14
"""What is lost at most where a file is cut off."""
ZSTD_RATIO: Final = 12
"""A typical ratio of text to file size, to show the progress."""
GZIP_WINDOW: Final = 31
BLOCK: Final = 4 << 20
COMPRESSED_BLOCK: Final = 1 << 18
MOST_COMPRESSION: Final = 200
"""Real traces compress 10 to 40 to 1. The limit of deflate is 1032 to 1."""
UNSUSPECTED: Final = 256 << 20
"""Bytes of text below which the compression ratio is not checked."""


def head(path: Path, size: int = 1 << 16) -> bytes:
    """Return the first bytes of the text of a file; fewer or none where it cannot be read or
    decompressed.
    """
    try:
        with open_regular(path, follow_links=True) as file:
            raw = file.read(size)
        if raw.startswith(ZSTD_MAGIC):
            return b"".join(islice(zstd_blocks(path, size), 1))
        if not raw.startswith(GZIP_MAGIC):
            return raw
        return isal_zlib.decompressobj(GZIP_WINDOW).decompress(raw, size)
    except (OSError, IsalError):  # type: ignore[misc]
        return b""


def zstd_blocks(path: Path, size: int) -> Iterator[bytes]:
    """Yield the text of a file that Zstandard compressed, in blocks of at most `size` bytes.

    Raises OSError where it is damaged or cut off.
    """
    import pyarrow as pa  # only for such files: it takes long to import

    try:
        with (
            open_regular(path, follow_links=True) as file,
            pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as text,
        ):
            while block := text.read(size):
                yield block
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


class TraceText:
    """Iterates over the blocks of text of a file. After the last one, `cut_off_reason` says why the
    file is incomplete, and is None when it is complete.

    Raises UnreadableRun for a file that cannot be opened, and for one that expands without end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_off_reason: str | None = None
        self.read_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open_regular(self.path, follow_links=True) as file:
                magic = file.read(len(ZSTD_MAGIC))
                is_compressed = magic.startswith(GZIP_MAGIC)
                file.seek(0)
                if magic == ZSTD_MAGIC:
                    yield from self.from_zstd()
                    return
                size = COMPRESSED_BLOCK if is_compressed else BLOCK
                blocks = self.count_bytes(iter(lambda: file.read(size), b""))
                yield from self.decompressed(blocks) if is_compressed else blocks
        except OSError as error:
            raise UnreadableRun(f"cannot read {self.path}: {error.strerror}") from error

    def from_zstd(self) -> Iterator[bytes]:
        """Yield the text of a file that Zstandard compressed."""
        size = self.path.stat().st_size
        most_bytes = max(UNSUSPECTED, MOST_COMPRESSION * size)
        text_bytes = 0
        try:
            for block in zstd_blocks(self.path, ZSTD_BLOCK):
                text_bytes += len(block)
                self.require_plausible(text_bytes, most_bytes)
                self.read_bytes = min(self.read_bytes + len(block) // ZSTD_RATIO, size)
                yield block
        except OSError as error:
            self.cut_off_reason = f"its compressed data is damaged or ends early ({error})"
        self.read_bytes = size

    def require_plausible(self, text_bytes: int, most_bytes: int) -> None:
        """Raise UnreadableRun for a file that expands without end."""
        if text_bytes > most_bytes:
            raise UnreadableRun(
                f"{self.path} expands to more than {MOST_COMPRESSION} times its size, which traces"
                " do not. If it is a trace, decompress it and analyze the .json."
            )

    def count_bytes(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the blocks, and add their sizes to `read_bytes`."""
        for block in blocks:
            self.read_bytes += len(block)
            yield block

    def decompressed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the text of compressed blocks. A gzip file may consist of several members."""
        most_bytes = max(UNSUSPECTED, MOST_COMPRESSION * self.path.stat().st_size)
        text_bytes = 0
        decompressor, in_member = isal_zlib.decompressobj(GZIP_WINDOW), False
        for block in blocks:
            # Zeros may follow a member: tapes and some disks pad files to whole blocks.
            while block := block if in_member else block.lstrip(b"\0"):
                try:
                    text = decompressor.decompress(block, BLOCK)
                except IsalError as error:  # type: ignore[misc]
                    self.cut_off_reason = f"its compressed data is damaged ({error})"
                    return
                text_bytes += len(text)
                self.require_plausible(text_bytes, most_bytes)
                if text:
                    yield text
                block, in_member = decompressor.unconsumed_tail, True
                if decompressor.eof:
                    block, in_member = decompressor.unused_data, False
                    decompressor = isal_zlib.decompressobj(GZIP_WINDOW)
        if in_member:
            self.cut_off_reason = "its compressed data ends early"
