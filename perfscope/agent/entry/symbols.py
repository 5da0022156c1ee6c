"""Finds the functions and data of a running CPython in the ELF symbol tables of its mapped files.

The files belong to the target's user and are read with that user's rights (`target_user`). Tables
are searched as bytes, not entry by entry: a whole libpython takes milliseconds once, and only the
results are kept.
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

from perfscope.agent.entry.injected_page import PYTHON_FUNCTIONS
from perfscope.agent.entry.mapped_image import UnreadableImage, read_mapped_image
from perfscope.agent.target_user.child import Reply, call_as
from perfscope.agent.target_user.files import open_regular_below
from perfscope.agent.target_user.rights import TargetUser, target_user

SYMBOL = struct.Struct("<IBBHQQ")
PAGE_BYTES = 4096
PYTHON_NAME = re.compile(r"/(?:lib)?python3\.(\d+)[a-z]*(?:\.so[.\d]*)?(?: \(deleted\))?$")
PYTHON = re.compile(r"/libpython3\.\d+[a-z]*\.so[.\d]*$")
C_LIBRARY = re.compile(r"/(libpthread[-.][^/]*|libc[-.][^/]*|ld-musl-[^/]*)$")
SINCE_3_8 = "PyConfig_InitPythonConfig"  # a function that CPython has from 3.8 on
NAMES_OF_AN_ENTRY = frozenset(
    (SINCE_3_8, "Py_Version", "PyType_Type", "_PyRuntime", "Py_AddPendingCall", *PYTHON_FUNCTIONS)
)
"""CPython's symbols that an entry needs, looked up together: reading a table takes 5 ms."""
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
"""What the ELF reader raises on truncated and forged files."""


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
    """The address and size of each symbol looked up in a file so far, None if it has none."""

    relocatable: bool
    segments: tuple[tuple[int, int, int], ...]  # (file offset, address, bytes) of each PT_LOAD
    symbols: dict[str, tuple[int, int] | None]


# By user and mapping, so that another user's file is not opened again to see whether it changed.
known_files: dict[tuple[int, MappedFile], ElfFile] = {}
# By device, inode and modification time.
parsed_files: dict[tuple[int, int, int], ElfFile] = {}


def mapped_files(pid: int) -> list[MappedFile]:
    """Return the files mapped into `pid`, each once, at its lowest address. Raises OSError."""
    found: dict[str, MappedFile] = {}
    with open(
        f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) < 6 or not fields[5].startswith("/"):
                continue
            span, _, offset, device, inode, path = fields
            if path not in found:
                start = int(span.split("-")[0], 16)
                found[path] = MappedFile(path, start, int(offset, 16), device, int(inode))
    return list(found.values())


def python_files(pid: int) -> list[MappedFile]:
    """Return the files that can have CPython's symbols: libpython if mapped, then the executable.

    A process may have loaded a second CPython that does not run. So if there are several, only the
    initialized one is returned, and none if several are initialized. Raises OSError if the process
    cannot be read.
    """
    files = possible_python_files(pid)
    if len(files) < 2:
        return files
    interpreters = [file for file in files if is_initialized(pid, file) is not None]
    if len(interpreters) < 2:
        return files
    running = [file for file in interpreters if is_initialized(pid, file)]
    return running if len(running) == 1 else []


def possible_python_files(pid: int) -> list[MappedFile]:
    """Return every libpython that is mapped, then the executable. Raises OSError."""
    files = mapped_files(pid)
    executable = os.readlink(f"/proc/{pid}/exe")
    libraries = [file for file in files if PYTHON.search(file.path)]
    others = [file for file in files if file not in libraries]
    return libraries + [file for file in others if file.path == executable]


def is_initialized(pid: int, file: MappedFile) -> bool | None:
    """Return whether the CPython in this file has been initialized, None if it contains none.

    The functions of a second copy may use the data of the first copy. Its own data then stays as it
    is in the file. Raises OSError.
    """
    found = addresses(pid, [file], ("PyRun_String", "PyType_Type"))
    if len(found) < 2:
        return None
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        flags = os.pread(memory.fileno(), 8, found["PyType_Type"][0] + TYPE_FLAGS_AT)
    return bool(int.from_bytes(flags, "little") & TYPE_READY)


def c_library_files(pid: int) -> list[MappedFile]:
    """Return the files that can have libc's symbols.

    libpthread (glibc before 2.34) is first, because libc then has only forwarders.
    """
    files = [file for file in mapped_files(pid) if C_LIBRARY.search(file.path)]
    return sorted(files, key=lambda file: "libpthread" not in file.path)


def symbol_range(pid: int, name: str) -> tuple[int, int] | None:
    """Return (address, size in bytes) of a symbol of CPython in `pid`, None if it has none.

    Raises OSError if the process has exited or cannot be read.
    """
    return addresses(pid, python_files(pid), (name,)).get(name)


def python_version(pid: int) -> int | None:
    """Return PY_VERSION_HEX of `pid`, None if unknown.

    It is read from the memory (3.11 and newer), else taken from the file names, without the patch
    level. Raises OSError if the process has exited or cannot be read.
    """
    place = symbol_range(pid, "Py_Version")
    if place is not None:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            return int.from_bytes(os.pread(memory.fileno(), 4, place[0]), "little")
    for file in python_files(pid):
        named = PYTHON_NAME.search(file.path)
        if named:
            return 3 << 24 | int(named[1]) << 16
    return None


def addresses(
    pid: int, files: Iterable[MappedFile], names: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """Return (address, size) of each of `names` that one of `files` defines; the first file wins.

    Raises OSError.
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
    """Return what to add to the file's addresses; for an odd mapping that of its first segment."""
    if not elf.relocatable:
        return 0
    for offset, address, size in elf.segments:
        first = offset - offset % PAGE_BYTES
        if first <= mapped.offset < offset + size:
            return mapped.start - (address - address % PAGE_BYTES) - (mapped.offset - first)
    return mapped.start - (elf.segments[0][1] if elf.segments else 0)


def elf_file(pid: int, user: TargetUser, mapped: MappedFile, names: set[str]) -> ElfFile | None:
    """Return the file with all `names` looked up, None if it is not a readable ELF file."""
    known = known_files.get((user.uid, mapped))
    if known is not None and names <= known.symbols.keys():
        return known
    usual = NAMES_OF_AN_ENTRY if names & NAMES_OF_AN_ENTRY else set()
    wanted = sorted(names | usual | (known.symbols.keys() if known else set()))
    try:
        place = (user.root, path_in_target(pid, mapped.path), mapped.inode)
        reply = call_as(user, look_up_in_file, *place, wanted)
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
    """Return a mapped file's path as the process sees it; /proc shows it as this process does.

    Raises OSError.
    """
    root = os.readlink(f"/proc/{pid}/root")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def look_up_in_file(root: int, path: str, inode: int, names: list[str]) -> Reply:
    """Look up `names` in the ELF file `path` below `root`.

    Raises OSError if the file was replaced or is damaged.
    """
    with open(open_regular_below(root, path), "rb") as stream:
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
    """Look up `names` in the mapped part of a file that cannot be opened; None if not readable."""
    try:
        image = read_mapped_image(pid, mapped.start)
    except (UnreadableImage, OSError, struct.error):
        return None
    symbols: dict[str, tuple[int, int] | None] = dict.fromkeys(names)
    symbols |= look_up(image.symbols, image.strings, set(names))
    return ElfFile(image.relocatable, image.segments, symbols)


def read_elf(stream: io.BufferedReader, names: set[str]) -> ElfFile:
    """Look up `names` in .dynsym, then .symtab. Raises ELFError if it is not an ELF file."""
    elf = ELFFile(stream)
    loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    segments = tuple((load["p_offset"], load["p_vaddr"], load["p_filesz"]) for load in loads)
    symbols: dict[str, tuple[int, int] | None] = dict.fromkeys(names)
    for table in (".dynsym", ".symtab"):
        missing = {name for name, place in symbols.items() if place is None}
        section = elf.get_section_by_name(table)
        if missing and section is not None:
            strings = elf.get_section(section["sh_link"])
            symbols |= look_up(section.data(), strings.data(), missing)
    return ElfFile(elf["e_type"] == "ET_DYN", segments, symbols)


def look_up(table: bytes, strings: bytes, names: set[str]) -> dict[str, tuple[int, int] | None]:
    """Return (address in the file, size) of those of `names` that the symbol table defines."""
    offsets: dict[int, str] = {}
    for name in names:
        # A linker may let a name share the end of a longer one, so all matches are kept.
        pattern = name.encode() + b"\0"
        offset = strings.find(pattern)
        while offset >= 0:
            offsets[offset] = name
            offset = strings.find(pattern, offset + 1)
    found: dict[str, tuple[int, int] | None] = {}
    whole = table[: len(table) // SYMBOL.size * SYMBOL.size]
    for name_at, _info, _other, section, value, size in SYMBOL.iter_unpack(whole):
        if name_at in offsets and section != 0:
            found.setdefault(offsets[name_at], (value, size))
    return found
