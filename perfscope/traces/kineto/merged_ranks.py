"""Files into which the traces of several ranks were merged, by a server or a script of the user.

Each rank has correlation ids and devices of its own; read as one process, a launch of one rank
would start the kernels of another. Two things tell the ranks apart:

- Ids of processes that are text and have the rank before the number (`ranked_ids`).
- Several processes that launch work, each on devices of its own. What a profiler writes itself has
  one process. Which devices belong to which process follows from the launches; where that is not
  clear, the file is refused.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from perfscope.errors import UnreadableRun
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import groups
from perfscope.traces.kineto.assemble import EventGroup, joined_groups
from perfscope.traces.kineto.columns import integer
from perfscope.traces.kineto.device_tables import device_numbers
from perfscope.traces.kineto.file import FileColumns
from perfscope.traces.kineto.layout import EventColumn, ParsedPiece
from perfscope.traces.kineto.ranked_ids import (
    checksum_of,
    checksums_in,
    is_ranked,
    numbers_without_rank,
    rank_and_pid,
)

NUMBERED_RANK: Final = re.compile(r"rank[-_ ]?(\d{1,6})", re.IGNORECASE)
DEVICE_GROUPS: Final = (groups.KERNELS, groups.COPIES)
FEWEST_LAUNCHES: Final = 20
"""Of one process. Fewer are those of a profiler, or of a process that only sets up."""
MOST_MATCHED: Final = 0.9
"""Of a device's work, the share that a launch in its own process precedes."""
LONGEST_QUEUED_NS: Final = 60_000_000_000
Chosen = Callable[[str, EventGroup], Any]
MetadataRow = tuple[Any, Any, str, Any]


@dataclass(frozen=True)
class RankColumns:
    """The columns of one rank."""

    rank: int
    columns: FileColumns


def ranks_in_file(columns: FileColumns, path: Path) -> list[RankColumns]:
    """Return the columns of each rank in a file, by rank; empty for a file of one process.

    Raises UnreadableRun where several processes launch work and it is not clear which is whose.
    """
    names = rank_names(columns)
    if len(names) > 1:
        return parts_by_name(columns, names)
    pids = launching_pids(columns)
    return parts_by_pid(columns, pids, path) if len(pids) > 1 else []


def rank_names(columns: FileColumns) -> dict[int, str]:
    """Return the ranks in ids of processes, by their checksums; "" where only events have them."""
    found: set[int] = set()
    for piece in columns.pieces:
        for group in piece.groups.values():
            pid = EventGroup(group).numbers("pid")
            if is_ranked(pid).any():
                found |= set(np.unique(checksums_in(pid)).tolist())
    names = dict.fromkeys(sorted(found - {-1}), "")
    for pid, *_ in metadata_of(columns):
        ranked = rank_and_pid(pid) if isinstance(pid, str) else None
        if ranked is not None and checksum_of(ranked[0]) in names:
            names[checksum_of(ranked[0])] = ranked[0]
    return names


def metadata_of(columns: FileColumns) -> Iterable[MetadataRow]:
    """Return the metadata events of a file."""
    return (row for piece in columns.pieces for row in piece.meta)


def parts_by_name(columns: FileColumns, names: dict[int, str]) -> list[RankColumns]:
    """Return the columns of each rank of a file in which ids of processes have the rank."""
    ordered = sorted(names, key=lambda checksum: (names[checksum], checksum))
    numbers = [NUMBERED_RANK.search(names[checksum]) for checksum in ordered]
    ranks = [int(found[1]) for found in numbers if found is not None]
    if len(set(ranks)) != len(ordered):
        ranks = list(range(len(ordered)))
    parts: list[RankColumns] = []
    for rank, checksum in zip(ranks, ordered, strict=True):

        def is_of_rank(name: str, group: EventGroup, checksum: int = checksum) -> Any:
            return checksums_in(group.numbers("pid")) == checksum

        metadata = [
            (ranked[1], *others)
            for pid, *others in metadata_of(columns)
            if isinstance(pid, str)
            and (ranked := rank_and_pid(pid)) is not None
            and checksum_of(ranked[0]) == checksum
        ]
        part = part_of(columns, is_of_rank, metadata, is_first=not parts)
        parts.append(RankColumns(rank, with_rank(part, rank)))
    return sorted(parts, key=lambda part: part.rank)


def launching_pids(columns: FileColumns) -> list[int]:
    """Return the processes with operators that launch work, by number.

    Empty where the file has no work of several devices.
    """
    if has_one_launching_process(columns):
        return []
    launches = group_of(columns, groups.LAUNCHES).numbers("pid")
    operators = group_of(columns, groups.OPS).numbers("pid")
    pids, counts = np.unique(launches[launches >= 0], return_counts=True)
    pids = pids[(counts >= FEWEST_LAUNCHES) & np.isin(pids, operators)]
    work = [device_numbers(group_of(columns, name)) for name in DEVICE_GROUPS]
    devices = np.unique(np.concatenate(work))
    return [int(pid) for pid in pids] if len(devices) > 1 else []


def has_one_launching_process(columns: FileColumns) -> bool:
    """Return whether all launches are of one process, as in what a profiler writes itself."""
    pids: set[int] = set()
    for piece in columns.pieces:
        pid = EventGroup(piece.groups.get(groups.LAUNCHES, {})).numbers("pid")
        pids |= {int(pid.min()), int(pid.max())} if len(pid) else set()
    return len(pids) < 2


def group_of(columns: FileColumns, name: str) -> EventGroup:
    """Return one group of all pieces of a file."""
    return joined_groups(
        [EventGroup(piece.groups[name]) for piece in columns.pieces if name in piece.groups]
    )


def parts_by_pid(columns: FileColumns, pids: list[int], path: Path) -> list[RankColumns]:
    """Return the columns of each process that launches work. Raises UnreadableRun."""
    owners = owners_of_devices(columns, pids, path)
    parts: list[RankColumns] = []
    for rank, pid in enumerate(pids):
        devices = [device for device, owner in owners.items() if owner == pid]

        def is_of_process(
            name: str, group: EventGroup, pid: int = pid, devices: list[int] = devices
        ) -> Any:
            if name in DEVICE_GROUPS:
                return np.isin(device_numbers(group), devices)
            return group.numbers("pid") == pid

        metadata = [row for row in metadata_of(columns) if integer(row[0]) in (pid, *devices)]
        part = part_of(columns, is_of_process, metadata, is_first=not parts)
        parts.append(RankColumns(rank, with_rank(part, rank)))
    return parts


def owners_of_devices(columns: FileColumns, pids: list[int], path: Path) -> dict[int, int]:
    """Return the process whose launches precede the work of each device. Raises UnreadableRun.

    Where several fit, because they launch the same at the same time, processes and devices belong
    together in their order.
    """
    kernels, launches = group_of(columns, groups.KERNELS), group_of(columns, groups.LAUNCHES)
    device, launched_by = device_numbers(kernels), launches.numbers("pid")
    devices = [int(number) for number in np.unique(device) if number >= 0]
    of_pid = {pid: launches.where(launched_by == pid) for pid in pids}
    fitting: dict[int, list[int]] = {}
    for number in devices:
        work = kernels.where(device == number)
        shares = {pid: matched_share(work, of_pid[pid]) for pid in pids}
        fitting[number] = [pid for pid in pids if shares[pid] >= MOST_MATCHED]
    if all(len(owners) == 1 for owners in fitting.values()):
        return {number: owners[0] for number, owners in fitting.items()}
    in_order = dict(zip(devices, pids, strict=False))
    if len(devices) == len(pids) and all(in_order[number] in fitting[number] for number in devices):
        return in_order
    raise UnreadableRun(
        f"{path} holds the events of {len(pids)} processes, and it is not clear which device"
        " belongs to which. Give the trace of each rank as a file of its own."
    )


def matched_share(kernels: EventGroup, launches: EventGroup) -> float:
    """Return the share of a device's kernels that a launch of one process precedes."""
    ids, started = launches.numbers("correlation"), launches.numbers("ts")
    order = np.argsort(ids, kind="stable")
    ids, started = ids[order], started[order]
    wanted = kernels.numbers("correlation")
    if not len(ids) or not len(wanted):
        return 0.0
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    waited: Ints = kernels.numbers("ts") - started[at]
    fits = (ids[at] == wanted) & (waited >= 0) & (waited < LONGEST_QUEUED_NS)
    return float(fits.mean())


def part_of(
    columns: FileColumns, is_of_part: Chosen, metadata: list[MetadataRow], *, is_first: bool
) -> FileColumns:
    """Return the events of a file that belong to a rank, with plain numbers of processes.

    The first part has everything that was counted while the file was read.
    """
    pieces = []
    for piece in columns.pieces:
        part = replace(piece, groups={}, meta=[]) if is_first else ParsedPiece()
        for name, group in piece.groups.items():
            kept = EventGroup(group).where(is_of_part(name, EventGroup(group)))
            part.groups[name] = with_plain_ids(kept)
        pieces.append(part)
    if pieces:
        pieces[0].meta = metadata
    unread = columns.unread_members if is_first else 0
    return FileColumns(pieces, columns.around, columns.cut_off_reason, unread)


def with_plain_ids(group: EventGroup) -> dict[str, EventColumn]:
    """Return the columns of events, with ids of processes and threads without a rank."""
    ids = {name: numbers_without_rank(group.numbers(name)) for name in ("pid", "tid")}
    return {**group.columns, **ids}


def with_rank(columns: FileColumns, rank: int) -> FileColumns:
    """Return the columns of a rank: what the file says of ranks is of the one merged last."""
    info = columns.around.get("distributedInfo")
    backend = info.get("backend") if isinstance(info, dict) else None
    around = {**columns.around, "distributedInfo": {"rank": rank, "backend": backend}}
    return replace(columns, around=around)
