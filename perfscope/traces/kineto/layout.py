"""The columns of each group of events, and the result of parsing one piece of text."""

from dataclasses import dataclass, field
from typing import Any, Final

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import groups
from perfscope.traces.kineto.columns import CodedNames

EventColumn = Ints | CodedNames
DAY_NS: Final = 86_400_000_000_000

# The names of columns are those of the fields of `events.Args`.
NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    groups.OPS: ("sequence", "forward_tid"),
    groups.LAUNCHES: ("correlation",),
    groups.KERNELS: (
        "correlation",
        "device",
        "stream",
        "sent",
        "received",
        "group_size",
        "occupancy",
    ),
    groups.COPIES: ("correlation", "device", "stream", "bytes"),
    groups.MEMORY: ("memory_bytes", "allocated", "reserved", "device_id", "device_type"),
    groups.RANGES: (),
}
NAMES: Final[dict[str, tuple[str, ...]]] = {
    groups.KERNELS: ("collective", "dtype", "group", "ranks", "direction"),
}
TEXTS: Final[dict[str, tuple[str, ...]]] = {
    groups.OPS: ("dims", "types", "strides", "concrete"),
    groups.KERNELS: ("grid", "block"),
}
"""Columns of JSON text, not parsed further."""
WITH_CATEGORY: Final = (groups.RANGES, groups.KERNELS)

# Reasons to leave out events, as the second half of "12 events left out: they ...".
NO_OBJECTS: Final = "are not JSON objects"
IMPOSSIBLE: Final = "have impossible times"
MOST_METADATA: Final = 100_000
"""Metadata events that are kept of a file: the names of threads and processes. A job of 1,000 ranks
in one file has some 10,000; in memory each takes several times its text.
"""
MOST_METADATA_TEXT: Final = 16 << 20
"""Characters of their names."""
MUCH_METADATA: Final = f"are metadata after the first {MOST_METADATA:,} or 16 MB of names"
NEGATIVE_DURATION: Final = "negative-duration"


@dataclass
class ParsedPiece:
    """The columns of one piece of text, by group."""

    groups: dict[str, dict[str, EventColumn]] = field(default_factory=dict)
    meta: list[tuple[Any, Any, str, Any]] = field(default_factory=list)
    """Metadata events: (pid, tid, what, value)."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> how many events were left out."""
    violations: dict[str, int] = field(default_factory=dict)
    """Invariant (`validation/invariants.py`) -> how many events violate it."""
    events: int = 0
    ended_at: int | None = None
    """Where in the text the event array ended, None where it goes on."""

    def keep_metadata(self, most: int, most_text: int) -> tuple[int, int]:
        """Leave out metadata events after the first `most`, or after `most_text` characters; return
        what is left of both.
        """
        kept: list[tuple[Any, Any, str, Any]] = []
        for row in self.meta[: max(most, 0)]:
            most_text -= sum(len(value) for value in row if isinstance(value, str))
            if most_text < 0:
                break
            kept.append(row)
        self.leave_out(len(self.meta) - len(kept), MUCH_METADATA)
        self.meta = kept
        return most - len(kept), most_text

    def count_violations(self, invariant: str, count: int) -> None:
        """Count events that violate an invariant."""
        if count:
            self.violations[invariant] = self.violations.get(invariant, 0) + count

    def leave_out(self, count: int, reason: str) -> None:
        """Count events that are left out."""
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count
