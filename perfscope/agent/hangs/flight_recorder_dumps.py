"""Dumps of PyTorch's Flight Recorder: files with the last collectives of a rank, which it writes
when its own time limit for a collective has passed.

Only existing files are read: asking the process for a dump takes a lock that the thread which hangs
may hold. A dump is a pickle. It is read without any class or function that a pickle could name, in
a child process with the rights of the program's user, a time limit and bounded memory.
"""

import contextlib
import os
import pickle
import stat
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import msgspec

from perfscope.agent.host import proc
from perfscope.agent.probe.stacks import is_of_package, short_path
from perfscope.agent.target_user.child import Reply
from perfscope.agent.target_user.files import FOLDER, READ, open_below

PREFIX_VARIABLES = ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE")
"""The path of a dump without the rank at its end; the first that is set counts."""
DEFAULT_PREFIXES = ("{home}/.cache/torch/comm_lib_trace_rank_", "/tmp/nccl_trace_rank_")
"""Of newer versions of torch, and of older ones."""
MOST_RANKS = 128
LARGEST_RANK = 999_999
LARGEST_DUMP_BYTES = 16 << 20
KEPT_PER_GROUP = 3
WITHOUT_STATES = "gloo:"
"""For gloo the recorder does not keep whether a collective has completed."""
LONGEST_TEXT = 200


class FlightEntry(msgspec.Struct):
    """One collective in a dump: the fields that are used here."""

    process_group: tuple[str, str]
    collective_seq_id: int
    profiling_name: str
    state: str
    is_p2p: bool = False
    frames: list[dict[str, Any]] = []


class PlainUnpickler(pickle.Unpickler):
    """Reads plain values only. A pickle that names a class or function raises UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function."""
        raise pickle.UnpicklingError(f"{module}.{name} is not a plain value")


BROKEN = (pickle.UnpicklingError, msgspec.MsgspecError, EOFError, ValueError, TypeError, KeyError)
"""What a damaged or foreign file raises."""
DAMAGED = (*BROKEN, IndexError, AttributeError, MemoryError, OverflowError, RecursionError)


def prefixes_of(variables: dict[str, str]) -> list[str]:
    """Return the beginnings of the paths of dumps, by the environment of a process."""
    for name in PREFIX_VARIABLES:
        if variables.get(name, "").startswith("/"):
            return [variables[name]]
    home = variables.get("HOME", "")
    return [prefix.format(home=home) for prefix in DEFAULT_PREFIXES if home or "{" not in prefix]


def read_flight_dumps(root: int, prefixes: list[str], oldest_s: float, folder: str) -> Reply:
    """Return the last collectives in the dumps that this user wrote since `oldest_s`.

    Each is [rank, written_s, group, sequence, operation, state, place]. `folder` is the working
    directory of the program, with a slash at its end.
    """
    rows: list[list[Any]] = []
    for prefix in prefixes:
        place, _, start = prefix.rpartition("/")
        with contextlib.suppress(OSError):
            parent = open_below(root, place or "/", FOLDER)
            try:
                dumps = dumps_in(os.listdir(parent), start)
                found = (rows_of_dump(parent, name, rank, oldest_s, folder) for rank, name in dumps)
                # Files of other users do not count: anybody can create some in /tmp.
                rows += chain.from_iterable(islice(filter(None, found), MOST_RANKS))
            finally:
                os.close(parent)
    return Reply(rows)


def dumps_in(names: Iterable[str], start: str) -> list[tuple[int, str]]:
    """Return rank and name of the files that are called `start` and the number of a rank."""
    found = []
    for name in names:
        rank = proc.decimal_number(name.removeprefix(start))
        if rank is not None and rank <= LARGEST_RANK and name == f"{start}{rank}":
            found.append((rank, name))
    return sorted(found)


def rows_of_dump(parent: int, name: str, rank: int, oldest_s: float, folder: str) -> list[Any]:
    """Return the rows of one file of an open folder; none if it is not a dump of this user."""
    try:
        file = os.open(name, READ | os.O_NOFOLLOW, dir_fd=parent)
    except OSError:
        return []
    found = os.fstat(file)
    is_dump = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    if not is_dump or found.st_size > LARGEST_DUMP_BYTES or found.st_mtime < oldest_s:
        os.close(file)
        return []
    with open(file, "rb") as stream:
        try:
            entries = msgspec.convert(PlainUnpickler(stream).load()["entries"], list[FlightEntry])
        except DAMAGED:
            return []
    return [
        [rank, found.st_mtime, *row]
        for row in (describe_collective(entry, folder) for entry in last_of_groups(entries))
    ]


def last_of_groups(entries: list[FlightEntry]) -> list[FlightEntry]:
    """Return the last collectives of each process group, the last of all at the end."""
    groups: dict[tuple[str, str], list[FlightEntry]] = {}
    for entry in entries:
        if not entry.is_p2p and not entry.profiling_name.startswith(WITHOUT_STATES):
            groups.setdefault(entry.process_group, []).append(entry)
    return [entry for group in groups.values() for entry in group[-KEPT_PER_GROUP:]]


def describe_collective(entry: FlightEntry, folder: str) -> list[Any]:
    """Return group, sequence number, operation, state, and the program's own line."""
    name, description = entry.process_group
    return [
        (description if description not in ("", "undefined") else name)[:LONGEST_TEXT],
        entry.collective_seq_id,
        entry.profiling_name.rpartition(":")[2][:LONGEST_TEXT],
        entry.state[:LONGEST_TEXT],
        place_of_program(entry.frames, folder),
    ]


def place_of_program(frames: list[dict[str, Any]], folder: str) -> str:
    """Return the innermost frame of the program's own code as `function (file:line)`, "" if none.

    The frames begin with the innermost.
    """
    for frame in frames:
        path, line = frame.get("filename"), frame.get("line")
        if isinstance(path, str) and isinstance(line, int) and path:
            short = short_path(path, folder)
            if not is_of_package(short):
                return f"{frame.get('name')} ({short}:{line})".replace(";", ",")[:LONGEST_TEXT]
    return ""
