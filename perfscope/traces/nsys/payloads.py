"""The facts about collectives in the payloads of NCCL's NVTX ranges, where an export has them
(`--include-json true`).

The message size is the bytes of one rank's part. When a communicator is created, a payload has its
number of ranks. The names of the fields are NCCL's.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.nsys.database import NameColumn, Rows, name_column_of
from perfscope.traces.nsys.identity import NsysProcesses, RankOfProcess
from perfscope.traces.nsys.nvtx import enclosing_rows

COMMUNICATOR: Final = "NCCL communicator ID"
MESSAGE_BYTES: Final = "Message size [bytes]"
RANK_COUNT: Final = "No. of ranks"
RANK: Final = "Rank"
LARGEST_COUNT: Final = 1 << 62


@dataclass
class NcclFacts:
    """The facts of the NCCL range around each row: message size and ranks (-1 unknown), and the
    communicator.
    """

    message_bytes: Ints
    group_size: Ints
    group: NameColumn

    def of_calls(self, call: Ints) -> "NcclFacts":
        """Return the facts for rows of calls, where -1 means without a call."""
        codes = np.append(self.group.codes, np.int32(-1))[call]
        return NcclFacts(
            np.append(self.message_bytes, -1)[call],
            np.append(self.group_size, -1)[call],
            NameColumn(codes, self.group.texts),
        )


def payload_fields(text: str) -> dict[str, Any]:
    """Return the fields of a payload, which some versions put one object deeper; empty for text
    that is not a JSON object.
    """
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(decoded, dict):
        return {}
    inner = [value for value in decoded.values() if isinstance(value, dict)]
    return decoded if COMMUNICATOR in decoded or len(inner) != 1 else inner[0]


def whole_number(value: Any) -> int:
    """Return a whole number, also one written as text; -1 for any other value."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return -1
    return number if 0 <= number < LARGEST_COUNT else -1


def nccl_facts(calls: Rows, ranges: Rows, processes: NsysProcesses) -> NcclFacts:
    """Return the facts of NCCL about each call.

    Adds to `processes` the rank of each process in its largest communicator.
    """
    payload = ranges.names["payload"]
    fields_of_text = [payload_fields(text) for text in payload.texts]
    has_communicator = [COMMUNICATOR in fields for fields in fields_of_text]
    nccl_ranges = ranges.where(np.array([*has_communicator, False], bool)[payload.codes])
    fields_of_range = [fields_of_text[code] for code in nccl_ranges.names["payload"].codes]
    communicators = [str(fields[COMMUNICATOR]) for fields in fields_of_range]
    rank_counts: dict[str, int] = {}
    codes = processes.codes(nccl_ranges.numbers("globalTid")).tolist()
    for process, fields, communicator in zip(codes, fields_of_range, communicators, strict=True):
        rank_count = whole_number(fields.get(RANK_COUNT))
        if rank_count > 0:
            rank_counts[communicator] = rank_count
            known = processes.reported.get(process, RankOfProcess())
            if rank_count > known.world_size:
                rank = whole_number(fields.get(RANK))
                processes.reported[process] = RankOfProcess(rank, rank_count)
    message_bytes = [whole_number(fields.get(MESSAGE_BYTES)) for fields in fields_of_range]
    group_sizes = [rank_counts.get(communicator, -1) for communicator in communicators]
    range_of_call = enclosing_rows(calls, nccl_ranges)
    return NcclFacts(
        np.array([*message_bytes, -1], np.int64)[range_of_call],
        np.array([*group_sizes, -1], np.int64)[range_of_call],
        name_column_of(range_of_call, communicators),
    )
