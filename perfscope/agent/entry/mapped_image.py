"""The exported symbols of a mapped ELF file, read from the process's memory.

This is for files that cannot be opened: deleted or replaced ones, files outside the target's root
directory, or files that only another user may read. The tables of the dynamic linker are always
mapped. `.symtab` is not, so names that are not exported are not found.
"""

import os
import struct
from dataclasses import dataclass

HEADER = struct.Struct("<4s12xHHIQQQIHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
ENTRY = struct.Struct("<qQ")
GNU_HASH_HEADER = struct.Struct("<4I")
WORD = struct.Struct("<I")
ET_DYN, PT_LOAD, PT_DYNAMIC = 3, 1, 2
DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_GNU_HASH = 4, 5, 6, 10, 0x6FFFFEF5
SYMBOL_BYTES = 24
MOST_SEGMENTS = 64
LARGEST_TABLE_BYTES = 4 << 20
LARGEST_DYNAMIC_BYTES = 64 << 10


class UnreadableImage(Exception):
    """The image is not an ELF file with a table of exported symbols."""


@dataclass(frozen=True)
class MappedImage:
    """The tables of a mapped ELF file.

    segments: (file offset, address, size) of each PT_LOAD, as in the file.
    """

    relocatable: bool
    segments: tuple[tuple[int, int, int], ...]
    symbols: bytes
    strings: bytes


def read_mapped_image(pid: int, start: int) -> MappedImage:
    """Return the tables of the image whose first byte is mapped at `start`.

    Raises UnreadableImage, OSError.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return ImageReader(memory.fileno(), start).read_tables()


@dataclass
class ImageReader:
    """Reads one image; each size and address in it comes from the target, and is checked."""

    memory: int
    start: int

    def read(self, address: int, size: int) -> bytes:
        """Read exactly `size` bytes. Raises UnreadableImage, OSError."""
        if not 0 < size <= LARGEST_TABLE_BYTES or not 0 < address < 1 << 63:
            raise UnreadableImage
        found = os.pread(self.memory, size, address)
        if len(found) != size:
            raise UnreadableImage
        return found

    def read_tables(self) -> MappedImage:
        """Return the tables of the image. Raises UnreadableImage, OSError."""
        header = self.read(self.start, HEADER.size)
        magic, kind, _, _, _, table_at, *_, size, count = HEADER.unpack(header)
        if magic != b"\x7fELF" or size != SEGMENT.size or not 0 < count <= MOST_SEGMENTS:
            raise UnreadableImage
        parts = list(SEGMENT.iter_unpack(self.read(self.start + table_at, size * count)))
        loads = tuple((part[2], part[3], part[5]) for part in parts if part[0] == PT_LOAD)
        dynamic = next((part for part in parts if part[0] == PT_DYNAMIC), None)
        if not loads or dynamic is None:
            raise UnreadableImage
        bias = self.start - (loads[0][1] - loads[0][0]) if kind == ET_DYN else 0
        if dynamic[6] > LARGEST_DYNAMIC_BYTES:
            raise UnreadableImage
        entries = self.read(dynamic[3] + bias, dynamic[6] // ENTRY.size * ENTRY.size)
        tags = dict(ENTRY.iter_unpack(entries))
        if DT_SYMTAB not in tags or DT_STRTAB not in tags:
            raise UnreadableImage
        # The dynamic linker replaces these by absolute addresses; before that they are the file's.
        place = {tag: value if value >= self.start else value + bias for tag, value in tags.items()}
        symbols = self.read(place[DT_SYMTAB], self.symbol_count(place) * SYMBOL_BYTES)
        strings = self.read(place[DT_STRTAB], tags.get(DT_STRSZ, 0))
        return MappedImage(kind == ET_DYN, loads, symbols, strings)

    def symbol_count(self, place: dict[int, int]) -> int:
        """Return how many symbols the hash table covers. Raises UnreadableImage, OSError."""
        if DT_HASH in place:
            return int(struct.unpack("<2I", self.read(place[DT_HASH], 8))[1])
        if DT_GNU_HASH not in place:
            raise UnreadableImage
        table_at = place[DT_GNU_HASH]
        header = self.read(table_at, GNU_HASH_HEADER.size)
        buckets, first, bloom, _ = GNU_HASH_HEADER.unpack(header)
        buckets_at = table_at + GNU_HASH_HEADER.size + 8 * bloom
        last = max(struct.unpack(f"<{buckets}I", self.read(buckets_at, 4 * buckets)))
        if last < first:
            return int(first)
        chains_at = buckets_at + 4 * buckets
        while not self.is_chain_end(chains_at + 4 * (last - first)):
            last += 1
            if last - first > LARGEST_TABLE_BYTES // SYMBOL_BYTES:
                raise UnreadableImage
        return int(last) + 1

    def is_chain_end(self, address: int) -> bool:
        """Return whether the hash at `address` is the last of its chain."""
        return bool(WORD.unpack(self.read(address, WORD.size))[0] & 1)
