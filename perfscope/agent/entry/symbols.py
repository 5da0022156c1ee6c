"""Finds the functions and data of a running CPython in the ELF symbol tables of its mapped files.

The files belong to the target's user and are read with that user's rights (`target_user`). Tables
are searched as bytes, not walked: a whole libpython costs milliseconds and its file's size once,
and only the answers are kept.
"""

import errno
import io
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from perfscope.agent.entry.mapped_image import UnreadableImage, read_mapped_image
from perfscope.agent.target_user.child import Reply, call_as
from perfscope.agent.target_user.files import open_regular
from perfscope.agent.target_user.rights import TargetUser, target_user

SYMBOL = struct.Struct("<IBBHQQ")
PAGE_BYTES = 4096
PYTHON_NAME = re.compile(r"/(?:lib)?python3\.(\d+)[a-z]*(?:\.so[.\d]*)?(?: \(deleted\))?$")
PYTHON = re.compile(r"/libpython3\.\d+[a-z]*\.so[.\d]*$")
C_LIBRARY = re.compile(r"/(libpthread[-.][^/]*|libc[-.][^/]*|ld-musl-[^/]*)$")
MOST_FILES_KEPT = 4096
TYPE_FLAGS_AT, TYPE_READY = 168, 1 << 12  # tp_flags of a type object, and Py_TPFLAGS_READY
DAMAGED = (
    ELFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    struct.error,
    MemoryError,
)
"""What the ELF reader raises on files that are cut short or made up."""


@dataclass(frozen=True)
class MappedFile:
    """One ELF file in the target's address space; `start` is where its byte `offset` is mapped."""

    path: str
    start: int
    offset: int
    device: str
    inode: int


@dataclass(frozen=True)
class ElfFile:
    """What is known of a file: the address and size of each symbol asked for so far (None: it has
    none).
    """

    relocatable: bool
    segments: tuple[tuple[int, int, int], ...]  # (file offset, address, bytes) of each PT_LOAD
    symbols: dict[str, tuple[int, int] | None]


known_files: dict[tuple[int, MappedFile], ElfFile] = {}
"""By user and mapping: a file of another user's is not opened just to see that it is still the
same.
"""
parsed_files: dict[tuple[int, int, int], ElfFile] = {}
"""By device, inode and modification time."""


def mapped_files(pid: int) -> list[MappedFile]:
    """The files mapped into `pid`, each once, at its lowest address. Raises OSError where maps
    cannot be read.
    """
    found: dict[str, MappedFile] = {}
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) == 6 and fields[5].startswith("/") and fields[5] not in found:
                start = int(fields[0].split("-")[0], 16)
                found[fields[5]] = MappedFile(
                    fields[5], start, int(fields[2], 16), fields[3], int(fields[4])
                )
    return list(found.values())


def python_files(pid: int) -> list[MappedFile]:
    """Where CPython's own symbols can be: libpython when there is one, then the executable.

    A process can have loaded a second CPython that does not run: only the one that was initialized
    is returned, none of several that were. Raises OSError where the process cannot be looked at.
    """
    files = possible_python_files(pid)
    interpreters = (
        [file for file in files if initialized(pid, file) is not None] if len(files) > 1 else []
    )
    if len(interpreters) < 2:
        return files
    running = [file for file in interpreters if initialized(pid, file)]
    return running if len(running) == 1 else []


def possible_python_files(pid: int) -> list[MappedFile]:
    """Return every libpython that is mapped, then the executable. Raises OSError."""
    files = mapped_files(pid)
    executable = os.readlink(f"/proc/{pid}/exe")
    libraries = [one for one in files if PYTHON.search(one.path)]
    return libraries + [one for one in files if one.path == executable and one not in libraries]


def initialized(pid: int, file: MappedFile) -> bool | None:
    """Return whether the CPython in this file has been initialized; None when there is none in it.
    Raises OSError.

    The functions of a second copy may use the data of the first one, so its own data stays as it is
    in the file.
    """
    found = addresses(pid, [file], ("PyRun_String", "PyType_Type"))
    if len(found) < 2:
        return None
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        flags = os.pread(memory.fileno(), 8, found["PyType_Type"][0] + TYPE_FLAGS_AT)
    return bool(int.from_bytes(flags, "little") & TYPE_READY)


def c_library_files(pid: int) -> list[MappedFile]:
    """Where libc's symbols can be: libpthread (glibc before 2.34) first, since libc then holds only
    forwarders.
    """
    files = [one for one in mapped_files(pid) if C_LIBRARY.search(one.path)]
    return sorted(files, key=lambda one: "libpthread" not in one.path)


def symbol_range(pid: int, name: str) -> tuple[int, int] | None:
    """(address, size in bytes) of CPython's symbol `name` in `pid`, function or data; None when it
    has none.

    Raises OSError where the process cannot be looked at (gone, another user's).
    """
    return addresses(pid, python_files(pid), (name,)).get(name)


def python_version(pid: int) -> int | None:
    """PY_VERSION_HEX of `pid`, from its memory (3.11 and newer) or else its file names, then
    without the patch level.

    None when neither tells. Raises OSError where the process cannot be looked at.
    """
    place = symbol_range(pid, "Py_Version")
    if place is not None:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            return int.from_bytes(os.pread(memory.fileno(), 4, place[0]), "little")
    for one in python_files(pid):
        named = PYTHON_NAME.search(one.path)
        if named:
            return 3 << 24 | int(named[1]) << 16
    return None


def addresses(
    pid: int, files: Iterable[MappedFile], names: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """(address, size) of each of `names` that one of `files` defines; the first file wins. Raises
    OSError.
    """
    wanted = set(names)
    found: dict[str, tuple[int, int]] = {}
    with target_user(pid) as user:
        for mapped in files:
            missing = wanted - found.keys()
            elf = elf_file(pid, user, mapped, missing) if missing else None
            if elf is None:
                continue
            bias = load_bias(elf, mapped)
            for name in missing:
                place = elf.symbols.get(name)
                if place is not None:
                    found[name] = (place[0] + bias, place[1])
    return found


def load_bias(elf: ElfFile, mapped: MappedFile) -> int:
    """What to add to the file's addresses. Raises nothing: an odd mapping gives the bias of its
    first segment.
    """
    if not elf.relocatable:
        return 0
    for offset, address, size in elf.segments:
        first = offset - offset % PAGE_BYTES
        if first <= mapped.offset < offset + size:
            return mapped.start - (address - address % PAGE_BYTES) - (mapped.offset - first)
    return mapped.start - (elf.segments[0][1] if elf.segments else 0)


def elf_file(pid: int, user: TargetUser, mapped: MappedFile, names: set[str]) -> ElfFile | None:
    """Return the file with all `names` looked up; None when it is not an ELF file that can be
    read.
    """
    known = known_files.get((user.uid, mapped))
    if known is not None and names <= known.symbols.keys():
        return known
    wanted = sorted(names | (known.symbols.keys() if known else set()))
    try:
        reply = call_as(
            user, look_up_in_file, user.root, path_in_target(pid, mapped.path), mapped.inode, wanted
        )
        found = msgspec.convert(reply.value, ElfFile)
    except (OSError, msgspec.ValidationError):
        found_in_memory = exported_symbols(pid, mapped, wanted)
        if found_in_memory is None:
            return None
        found = found_in_memory
    if len(known_files) >= MOST_FILES_KEPT:
        known_files.clear()
    known_files[user.uid, mapped] = found
    return found


def path_in_target(pid: int, path: str) -> str:
    """Return a mapped file's path as the process sees it: the kernel reports it as this process
    sees it. Raises OSError.
    """
    root = os.readlink(f"/proc/{pid}/root")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def look_up_in_file(root: int, path: str, inode: int, names: list[str]) -> Reply:
    """Look up `names` in the ELF file `path` below `root`. Raises OSError when it is another file
    by now, or damaged.
    """
    with open(open_regular(root, path), "rb") as stream:
        stat = os.fstat(stream.fileno())
        if stat.st_ino != inode:
            raise OSError(errno.ESTALE, "the file was replaced", path)
        key = (stat.st_dev, stat.st_ino, stat.st_mtime_ns)
        found = parsed_files.get(key)
        if found is None or not set(names) <= found.symbols.keys():
            try:
                found = parsed_files[key] = read_elf(stream, set(names))
            except DAMAGED:
                raise OSError(errno.ENOEXEC, "not a readable ELF file", path) from None
        return Reply(found)


def exported_symbols(pid: int, mapped: MappedFile, names: list[str]) -> ElfFile | None:
    """Look up `names` in what is mapped of the file: for one that cannot be opened; None when that
    cannot be read.
    """
    try:
        image = read_mapped_image(pid, mapped.start)
    except (UnreadableImage, OSError, struct.error):
        return None
    symbols: dict[str, tuple[int, int] | None] = dict.fromkeys(names)
    symbols |= look_up(image.symbols, image.strings, set(names))
    return ElfFile(image.relocatable, image.segments, symbols)


def read_elf(stream: io.BufferedReader, names: set[str]) -> ElfFile:
    """Look up `names` in .dynsym, then .symtab. Raises ELFError when it is no ELF file."""
    elf = ELFFile(stream)
    loads = (one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD")
    segments = tuple((one["p_offset"], one["p_vaddr"], one["p_filesz"]) for one in loads)
    symbols: dict[str, tuple[int, int] | None] = dict.fromkeys(names)
    for table in (".dynsym", ".symtab"):
        missing = {name for name, place in symbols.items() if place is None}
        section = elf.get_section_by_name(table)
        if missing and section is not None:
            strings = elf.get_section(section["sh_link"])
            symbols |= look_up(section.data(), strings.data(), missing)
    return ElfFile(elf["e_type"] == "ET_DYN", segments, symbols)


def look_up(table: bytes, strings: bytes, names: set[str]) -> dict[str, tuple[int, int] | None]:
    """Those of `names` that the symbol table defines: (address in the file, size)."""
    offsets: dict[int, str] = {}
    for name in names:
        # A linker may let a name share the tail of a longer one, so every place it ends at counts.
        pattern = name.encode() + b"\0"
        at = strings.find(pattern)
        while at >= 0:
            offsets[at] = name
            at = strings.find(pattern, at + 1)
    found: dict[str, tuple[int, int] | None] = {}
    for name_at, _info, _other, section, value, size in SYMBOL.iter_unpack(
        table[: len(table) // 24 * 24]
    ):
        if name_at in offsets and section != 0:
            found.setdefault(offsets[name_at], (value, size))
    return found
