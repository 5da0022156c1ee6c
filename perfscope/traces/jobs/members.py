"""The files and run folders at the paths that the user gave: each path itself, or the entries of a
folder that a reader recognizes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from perfscope.errors import UnreadableRun
from perfscope.traces.reading import is_recognized

DIGITS = re.compile(r"(\d+)")
MOST_MEMBERS: Final = 4096
"""Parts of one job. Each takes 0.5 MB and 30 ms, or much more (`docs/measured.md`), so that this
many small ones need about 2 GB.
"""


@dataclass(frozen=True)
class JobMember:
    """A file or run folder to read. `named` is true when the user gave its path, and false when it
    was found in a folder.
    """

    path: Path
    named: bool


def members(paths: Iterable[Path]) -> list[JobMember]:
    """Return what is to be read, each path once, the entries of a folder in natural order.

    Raises UnreadableRun, also for more than MOST_MEMBERS.
    """
    by_target: dict[Path, JobMember] = {}
    for path in paths:
        if not path.is_dir() or is_recognized(path):
            by_target.setdefault(path.resolve(), JobMember(path, named=True))
            continue
        of_folder = (entry for entry in visible_entries(path) if is_recognized(entry))
        recognized = list(islice(of_folder, MOST_MEMBERS + 1))
        if not recognized:
            raise UnreadableRun(
                f"{path} is not a run folder (it has no manifest.json) and contains no trace that"
                " perfscope can read"
            )
        for entry in recognized:
            by_target.setdefault(entry.resolve(), JobMember(entry, named=False))
    found = list(by_target.values())
    refuse_large_job(found)
    return found


def refuse_large_job(found: Sequence[JobMember]) -> None:
    """Raise UnreadableRun if there are more than MOST_MEMBERS members."""
    if len(found) > MOST_MEMBERS:
        raise UnreadableRun(
            f"{found[0].path.parent} has more than {MOST_MEMBERS:,} traces, the most that are read"
            " as the ranks of one job. Give the paths of some of them, or put those of other jobs"
            " into folders of their own."
        )


def visible_entries(folder: Path) -> list[Path]:
    """Return the entries of a folder in natural order, without hidden ones. Raises
    UnreadableRun.
    """
    try:
        visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise UnreadableRun(f"cannot read {folder}: {error.strerror}") from None
    return sorted(visible, key=natural_order)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts rank 2 before rank 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in DIGITS.split(path.name)]
