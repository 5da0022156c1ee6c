"""Ids of processes that are text and have a rank before the number: `[TP01-DP00] 83`, `rank1 83`.

They come from files into which the traces of several ranks were merged (`merged_ranks`).
"""

import re
import zlib
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

RANKED_ID: Final = re.compile(
    r"(?P<rank>.*(?:rank|[tdpec]p)[-_ ]?\d.*?)[^A-Za-z0-9]+(?P<pid>\d{1,9})", re.IGNORECASE
)
LONGEST_ID: Final = 100
LOWEST: Final = -(1 << 62)
PID_BITS: Final = 32
LAST_CHECKSUM: Final = (1 << 28) - 1


@lru_cache(4096)
def rank_and_pid(text: str) -> tuple[str, int] | None:
    """Return the rank and the number in an id, None for an id of another form."""
    found = RANKED_ID.fullmatch(text.strip()) if len(text) <= LONGEST_ID else None
    return None if found is None else (found["rank"], int(found["pid"]))


def checksum_of(rank: str) -> int:
    """Return a number for the text of a rank."""
    return zlib.crc32(rank.encode("utf-8", "surrogatepass")) & LAST_CHECKSUM


def number_of_ranked_id(text: str) -> int | None:
    """Return the number for an id with a rank, None for another id.

    It is below those of all other ids: a checksum of the rank, then the number in 32 bits.
    """
    found = rank_and_pid(text)
    if found is None:
        return None
    return LOWEST + (checksum_of(found[0]) << PID_BITS) + found[1]


def checksums_in(ids: Ints) -> Ints:
    """Return the checksum of the rank in each id, -1 for an id without one."""
    checksums: Ints = (ids - LOWEST) >> PID_BITS
    return np.where(is_ranked(ids), checksums, -1)


def numbers_without_rank(ids: Ints) -> Ints:
    """Return the ids without the rank in them."""
    return np.where(is_ranked(ids), (ids - LOWEST) & ((1 << PID_BITS) - 1), ids)


def is_ranked(ids: Ints) -> NDArray[np.bool_]:
    """Return which ids have a rank."""
    ranked: NDArray[np.bool_] = ids < LOWEST + ((LAST_CHECKSUM + 1) << PID_BITS)
    return ranked
