"""Finds the traces of a folder that are the ranks of one job: by their names, and by the number of
ranks that they declare.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from perfscope.traces.naming import RANK_IN_NAME

DIGITS: Final = re.compile(r"[0-9]+")
WORLD_SIZE: Final = re.compile(rb'"world_size"\s*:\s*([0-9]{1,9})')
"""In `distributedInfo`, which PyTorch's profiler writes before the events."""


def jobs_of_files(files: Sequence[Path], size_of_job: Callable[[Path], str]) -> list[list[Path]]:
    """Return the files of each job with several ranks; files of other names are in none.

    The names of a job's files differ only in digits: those of the rank, and of a time or process.
    `size_of_job` returns the number of ranks that a file declares, "" for none; files that declare
    different numbers are of different jobs.
    """
    jobs: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        if RANK_IN_NAME.search(file.name):
            key = (DIGITS.sub("#", file.name), size_of_job(file))
            jobs.setdefault(key, []).append(file)
    return [job for job in jobs.values() if len(set(map(rank_in_name, job))) > 1]


def declared_size(start: bytes) -> str:
    """Return the number of ranks that the beginning of a trace declares, "" for none."""
    match = WORLD_SIZE.search(start)
    return match[1].decode() if match else ""


def rank_in_name(file: Path) -> int | None:
    """Return the rank in a file's name, None without one."""
    match = RANK_IN_NAME.search(file.name)
    return int(match[1]) if match else None


def name_of_ranks(file: Path) -> str:
    """Return the name of a file with `*` in place of its rank."""
    return RANK_IN_NAME.sub(lambda match: match[0].removesuffix(match[1]) + "*", file.name)
