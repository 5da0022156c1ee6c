"""The files and run folders at the paths that the user gave: each path itself, or the entries of a
folder that a reader recognizes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from perfscope.errors import UnreadableRun
from perfscope.traces.reading import is_recognized

DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class JobMember:
    """A file or run folder to read. `named` is true when the user gave its path, and false when it
    was found in a folder.
    """

    path: Path
    named: bool


def members(paths: Iterable[Path]) -> list[JobMember]:
    """Return what is to be read, each path once, the entries of a folder in natural order.

    Raises UnreadableRun.
    """
    by_target: dict[Path, JobMember] = {}
    for path in paths:
        if not path.is_dir() or is_recognized(path):
            by_target.setdefault(path.resolve(), JobMember(path, named=True))
            continue
        recognized = [entry for entry in visible_entries(path) if is_recognized(entry)]
        if not recognized:
            raise UnreadableRun(
                f"{path} is not a run folder (it has no manifest.json) and contains no trace that"
                " perfscope can read"
            )
        for entry in recognized:
            by_target.setdefault(entry.resolve(), JobMember(entry, named=False))
    return list(by_target.values())


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
