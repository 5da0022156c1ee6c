"""The symbols that a mapped ELF file exports, read from the process's memory: for files that cannot
be opened any more.

A file may have been deleted or replaced, be outside the target's root directory, or be readable for
another user only. The tables that the dynamic linker uses are always mapped. `.symtab` is not: a
name that is not exported is not found here.
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
    """The image is not one of an ELF file with a table of exported symbols."""


@dataclass(frozen=True)
class MappedImage:
    """An ELF file as it is mapped; `segments` as in the file: (file offset, address, bytes) of each
    PT_LOAD.
    """

    relocatable: bool
    segments: tuple[tuple[int, int, int], ...]
    symbols: bytes
    strings: bytes


def read_mapped_image(pid: int, start: int) -> MappedImage:
    """Read the tables of the image whose first byte is mapped at `start`. Raises UnreadableImage,
    OSError.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return ImageReader(memory.fileno(), start).read_tables()


@dataclass
class ImageReader:
    """Reads one image; every size and address in it comes from the target and is checked or
    bounded.
    """

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
        """Read it all. Raises UnreadableImage, OSError."""
        magic, kind, _, _, _, table_at, *_, size, count = HEADER.unpack(
            self.read(self.start, HEADER.size)
        )
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
        tags = dict(
            ENTRY.iter_unpack(self.read(dynamic[3] + bias, dynamic[6] // ENTRY.size * ENTRY.size))
        )
        # The dynamic linker has made absolute addresses of these; before it ran they are the
        # file's.
        place = {tag: value if value >= self.start else value + bias for tag, value in tags.items()}
        if DT_SYMTAB not in tags or DT_STRTAB not in tags:
            raise UnreadableImage
        symbols = self.read(place[DT_SYMTAB], self.symbol_count(place) * SYMBOL_BYTES)
        return MappedImage(
            kind == ET_DYN, loads, symbols, self.read(place[DT_STRTAB], tags.get(DT_STRSZ, 0))
        )

    def symbol_count(self, place: dict[int, int]) -> int:
        """Return how many symbols the hash table covers. Raises UnreadableImage, OSError."""
        if DT_HASH in place:
            return int(struct.unpack("<2I", self.read(place[DT_HASH], 8))[1])
        if DT_GNU_HASH not in place:
            raise UnreadableImage
        at = place[DT_GNU_HASH]
        buckets, first, bloom, _ = GNU_HASH_HEADER.unpack(self.read(at, GNU_HASH_HEADER.size))
        buckets_at = at + GNU_HASH_HEADER.size + 8 * bloom
        last = max(struct.unpack(f"<{buckets}I", self.read(buckets_at, 4 * buckets)))
        if last < first:
            return int(first)
        chains_at = buckets_at + 4 * buckets
        while (
            not WORD.unpack(self.read(chains_at + 4 * (last - first), 4))[0] & 1
        ):  # the end of its chain
            last += 1
            if last - first > LARGEST_TABLE_BYTES // SYMBOL_BYTES:
                raise UnreadableImage
        return int(last) + 1
