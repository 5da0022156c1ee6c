"""The bytes of a trace file, unpacked as they are read: memory does not grow with the file."""

from collections.abc import Iterator
from pathlib import Path

from isal import isal_zlib
from isal.igzip_lib import IsalError

from perfscope.errors import UnreadableRun
from perfscope.traces.regular_file import open_regular

GZIP = b"\x1f\x8b"
GZIP_WINDOW = 31
BLOCK = 4 << 20
PACKED_BLOCK = 1 << 18
# Real traces pack 10 to 40 to 1; deflate's own limit is 1032 to 1.
MOST_PACKED = 200
UNSUSPECTED = 256 << 20


def head(path: Path, size: int = 1 << 16) -> bytes:
    """The first bytes, unpacked; fewer or none where the file cannot be read or unpacked."""
    try:
        with open_regular(path, follow_links=True) as file:
            raw = file.read(size)
        return (
            isal_zlib.decompressobj(GZIP_WINDOW).decompress(raw, size)
            if raw.startswith(GZIP)
            else raw
        )
    except (OSError, IsalError):  # type: ignore[misc]
        return b""


class Text:
    """Iterates over a file's unpacked blocks. After the last one `torn` says why the file ends
    early, None when it does not.

    Raises UnreadableRun for a file that cannot be opened or that unpacks without end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: str | None = None
        self.read_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open_regular(self.path, follow_links=True) as file:
                packed = file.read(2) == GZIP
                file.seek(0)
                blocks = iter(lambda: file.read(PACKED_BLOCK if packed else BLOCK), b"")
                yield from self.unpacked(self.counted(blocks)) if packed else self.counted(blocks)
        except OSError as error:
            raise UnreadableRun(f"{self.path}: {error.strerror}") from error

    def counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.read_bytes += len(block)
            yield block

    def unpacked(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        size_bytes, unpacked_bytes = self.path.stat().st_size, 0
        unpacker, fed = isal_zlib.decompressobj(GZIP_WINDOW), False
        for block in blocks:
            # Between members, and after the last, may be zeros: files are padded to whole blocks of
            # a tape or a disk.
            while block := block if fed else block.lstrip(b"\0"):
                try:
                    text = unpacker.decompress(block, BLOCK)
                except IsalError as error:  # type: ignore[misc]
                    self.torn = f"its compressed data is damaged ({error})"
                    return
                unpacked_bytes += len(text)
                if unpacked_bytes > max(UNSUSPECTED, MOST_PACKED * size_bytes):
                    raise UnreadableRun(
                        f"{self.path}: unpacks to more than {MOST_PACKED} times its size, as no"
                        " trace does; if it is one, unpack it yourself and give the .json"
                    )
                if text:
                    yield text
                block, fed = unpacker.unconsumed_tail, True
                if unpacker.eof:  # a gzip file may have several members
                    block, unpacker, fed = (
                        unpacker.unused_data,
                        isal_zlib.decompressobj(GZIP_WINDOW),
                        False,
                    )
        if fed:
            self.torn = "its compressed data ends early"
