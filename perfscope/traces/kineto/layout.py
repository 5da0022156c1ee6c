"""Which columns each group of events has, and what one piece of text becomes."""

from dataclasses import dataclass, field
from typing import Any, Final

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import groups
from perfscope.traces.kineto.columns import Coded

Column = Ints | Coded
DAY_NS: Final = 86_400_000_000_000

# By the names of `events.Args`.
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
"""Kept as they stand in the text."""
WITH_CATEGORY: Final = (groups.RANGES, groups.KERNELS)


@dataclass
class Part:
    """Columns by group, metadata rows (pid, tid, name, value), how many events were left out, by
    reason, and where in the text the array ended, None when it goes on.
    """

    groups: dict[str, dict[str, Column]] = field(default_factory=dict)
    meta: list[tuple[Any, Any, str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    events: int = 0
    ended_at: int | None = None

    def leave_out(self, count: int, why: str) -> None:
        """Count events that are not taken."""
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count


NO_OBJECTS: Final = "are no objects"
IMPOSSIBLE: Final = "have impossible times"
