"""What the named paths hold: each file, and of each folder every file in it that a reader
recognises.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from perfscope.errors import UnreadableRun
from perfscope.traces.reading import recognised

DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Member:
    """One file or run folder to be read; `named` when the user named it, not the folder around
    it.
    """

    path: Path
    named: bool


def members(paths: Iterable[Path]) -> list[Member]:
    """All there is to read, each once, the entries of a folder in natural order. Raises
    UnreadableRun.
    """
    found: dict[Path, Member] = {}
    for path in paths:
        if not path.is_dir() or recognised(path):
            found.setdefault(path.resolve(), Member(path, named=True))
            continue
        inside = [entry for entry in entries(path) if recognised(entry)]
        if not inside:
            raise UnreadableRun(
                f"{path} is not a run folder: it has no manifest.json, nor a trace that a reader"
                " knows"
            )
        for entry in inside:
            found.setdefault(entry.resolve(), Member(entry, named=False))
    return list(found.values())


def entries(folder: Path) -> list[Path]:
    """What is in a folder, hidden files left out, numbers in names counted as numbers."""
    try:
        return sorted(
            (one for one in folder.iterdir() if not one.name.startswith(".")), key=natural
        )
    except OSError as error:
        raise UnreadableRun(f"cannot read {folder}: {error.strerror}") from None


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that puts rank 2 before rank 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in DIGITS.split(path.name)]
