"""The collective in which ranks wait, as PyTorch's Flight Recorder has written it down."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import pandas as pd

from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

COMPLETED: Final = "completed"


class LastCollective(NamedTuple):
    """The last collective that a rank has begun in a group; `place` is "" where unknown."""

    rank: int
    group: str
    sequence: int
    operation: str
    is_completed: bool
    place: str


@dataclass(frozen=True)
class StuckCollective:
    """A collective that some ranks wait in, and the ranks that have not begun it, by rank."""

    waiting: tuple[LastCollective, ...]
    behind: tuple[LastCollective, ...]

    def is_waiting(self, rank: int) -> bool:
        """Return whether a rank waits in it."""
        return any(last.rank == rank for last in self.waiting)

    def is_behind(self, rank: int) -> bool:
        """Return whether a rank has not begun it."""
        return any(last.rank == rank for last in self.behind)


def stuck_collective(trace: Trace) -> StuckCollective | None:
    """Return the collective that most ranks wait in, None without a dump of one that waits."""
    rows = table(trace, "flight_records")
    if rows is None:
        return None
    found: list[StuckCollective] = []
    for _, of_group in rows.groupby("group", observed=True):
        lasts = last_by_rank(of_group)
        furthest = max(last.sequence for last in lasts)
        waiting = [last for last in lasts if last.sequence == furthest and not last.is_completed]
        behind = [last for last in lasts if last.sequence < furthest]
        if waiting:
            found.append(StuckCollective(tuple(waiting), tuple(behind)))
    return max(found, key=lambda stuck: len(stuck.waiting), default=None)


def last_by_rank(rows: pd.DataFrame) -> list[LastCollective]:
    """Return the last collective of each rank in the records of one group."""
    newest = rows.sort_values("sequence", kind="stable").groupby("rank").tail(1)
    return [
        LastCollective(
            rank=int(row["rank"]),
            group=str(row["group"]),
            sequence=int(row["sequence"]),
            operation=str(row["operation"]),
            is_completed=row["state"] == COMPLETED,
            place=str(row["place"]) if isinstance(row["place"], str) else "",
        )
        for _, row in newest.sort_values("rank").iterrows()
    ]
