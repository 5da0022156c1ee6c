"""Files into which the traces of several ranks were merged, by a server or a script of the user.

Each rank has correlation ids and devices of its own; read as one process, a launch of one rank
would start the kernels of another. The ids of processes tell the ranks apart: they are text, with
the rank before the number (`ranked_ids`). Merged files without that are read as one process.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from perfscope.traces.kineto.assemble import EventGroup
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
Chosen = Callable[[str, EventGroup], Any]
MetadataRow = tuple[Any, Any, str, Any]


@dataclass(frozen=True)
class RankColumns:
    """The columns of one rank."""

    rank: int
    columns: FileColumns


def ranks_in_file(columns: FileColumns) -> list[RankColumns]:
    """Return the columns of each rank in a file, by rank; empty for a file of one process."""
    names = rank_names(columns)
    return parts_by_name(columns, names) if len(names) > 1 else []


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
