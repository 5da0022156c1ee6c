"""What NCCL says of its calls in the payloads of its NVTX ranges, where the export has them
(`--include-json true`).

The message size is in bytes of one rank's part; a communicator is announced with its ranks when it
is made. The names of the fields are NCCL's own.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.nsys.database import Named, Rows, named
from perfscope.traces.nsys.identity import Identity, Member
from perfscope.traces.nsys.nvtx import around

COMMUNICATOR, SIZE, RANKS, RANK = (
    "NCCL communicator ID",
    "Message size [bytes]",
    "No. of ranks",
    "Rank",
)


@dataclass
class Said:
    """For each call what the NCCL range around it says: bytes and ranks (-1 unknown), and the
    communicator.
    """

    message_bytes: Ints
    group_size: Ints
    group: Named

    def of(self, call: Ints) -> "Said":
        """For rows of calls, where -1 is none."""
        group = Named(np.append(self.group.codes, np.int32(-1))[call], self.group.texts)
        return Said(
            np.append(self.message_bytes, -1)[call], np.append(self.group_size, -1)[call], group
        )


def payload(text: str) -> dict[str, Any]:
    """The fields of a payload, also where the writer put them one object deeper; none for what is
    no JSON object.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    inner = [value for value in found.values() if isinstance(value, dict)]
    return found if COMMUNICATOR in found or len(inner) != 1 else inner[0]


def count(value: Any) -> int:
    """A number, also written as text; -1 for none."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return -1
    return number if 0 <= number < 1 << 62 else -1


def said_by_nccl(calls: Rows, ranges: Rows, who: Identity) -> Said:
    """What NCCL says of the calls it makes. Tells `who` the ranks that were said, those of the
    largest communicator.
    """
    codes = ranges.names["payload"].codes
    fields = [payload(text) for text in ranges.names["payload"].texts]
    tells = np.array([COMMUNICATOR in one for one in fields] + [False], bool)[codes]
    talking = ranges.where(tells)
    fields_of = [fields[code] for code in talking.names["payload"].codes]
    rank_counts: dict[str, int] = {}
    for process, one in zip(
        who.processes(talking.numbers("globalTid")).tolist(), fields_of, strict=True
    ):
        ranks = count(one.get(RANKS))
        if ranks > 0:
            rank_counts[str(one[COMMUNICATOR])] = ranks
            if ranks > who.members.get(process, Member()).world_size:
                who.members[process] = Member(count(one.get(RANK)), ranks)
    holder = around(calls, talking)
    sizes = np.array([*(count(one.get(SIZE)) for one in fields_of), -1], np.int64)
    groups = [str(one[COMMUNICATOR]) for one in fields_of]
    members = np.array([*(rank_counts.get(group, -1) for group in groups), -1], np.int64)
    return Said(sizes[holder], members[holder], named(holder, groups))
