"""Finds unused space for a few hundred bytes of code in a running process: the end of a code page.

When it is written to, the kernel gives the process a private copy of that page. No memory is mapped
for it, and no code of the program is there. Our code stays, and the next entry finds it again.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from perfscope.agent.entry.mapped_image import HEADER, SEGMENT

VDSO = "[vdso]"
PT_LOAD, EXECUTABLE = 1, 1
MOST_SEGMENTS = 64
ALIGNMENT = 16
PAGE_BYTES = 4096


@dataclass(frozen=True)
class CodeMapping:
    """A private mapping of executable code; `image` is the address of its ELF file's first byte."""

    name: str
    start: int
    end: int
    offset: int
    image: int


def code_mappings(pid: int) -> list[CodeMapping]:
    """Return the private code mappings of `pid`, the kernel's own page first. Raises OSError."""
    found: list[CodeMapping] = []
    images: dict[str, int] = {}
    with open(
        f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) < 6 or not (fields[5].startswith("/") or fields[5] == VDSO):
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            offset = int(fields[2], 16)
            if offset == 0:
                images.setdefault(fields[5], start)
            if fields[1] == "r-xp" and fields[5] in images:
                found.append(CodeMapping(fields[5], start, end, offset, images[fields[5]]))
    return sorted(found, key=lambda mapping: mapping.name != VDSO)


def unused_ends(pid: int, memory: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield (address, current content) of each unused end of `size` bytes.

    memory: the process's /proc/PID/mem, open. Raises OSError.
    """
    for mapping in code_mappings(pid):
        address = (mapping.end - size) // ALIGNMENT * ALIGNMENT
        used = end_of_code(memory, mapping)
        if used is not None and used <= address:
            content = os.pread(memory, size, address)
            if len(content) == size:
                yield address, content


def end_of_code(memory: int, mapping: CodeMapping) -> int | None:
    """Return where the code of the mapping ends according to its ELF header.

    Returns None if the header cannot be read or does not fit.
    """
    head = os.pread(memory, HEADER.size, mapping.image)
    if len(head) != HEADER.size:
        return None
    magic, _, _, _, _, table_at, *_, size, count = HEADER.unpack(head)
    if magic != b"\x7fELF" or size != SEGMENT.size or not 0 < count <= MOST_SEGMENTS:
        return None
    table = os.pread(memory, size * count, mapping.image + table_at)
    if len(table) != size * count:
        return None
    first_page = range(mapping.offset, mapping.offset + PAGE_BYTES)
    for kind, rights, offset, _, _, length, *_ in SEGMENT.iter_unpack(table):
        if kind == PT_LOAD and rights & EXECUTABLE and offset in first_page:
            end = mapping.start + offset - mapping.offset + length
            return int(end) if end <= mapping.end else None
    return None
