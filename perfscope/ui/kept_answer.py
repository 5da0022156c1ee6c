"""The answer to a large trace, kept beside its tables: a second look prints it without reading or deriving anything again.

It counts for the very file and the very code that it came from; whatever does not fit is as if it had never been kept.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.cache.place import folder_of

FILE: Final = "answer.json"
PACKAGE: Final = Path(__file__).resolve().parents[1]


class Answer(msgspec.Struct):
    """What is printed: the diagnosis, and who was looked at; `code` is the code that both came from."""

    code: str
    who: list[str]
    diagnosis: Diagnosis


def place_of(path: Path) -> Path:
    """Where the answer to the trace at `path` is kept: a folder of its own, which goes when the tables' folders go."""
    folder = folder_of(path)
    return folder.with_name(f"{folder.name}-answer") / FILE


def recalled_answer(path: Path) -> Answer | None:
    """The kept answer to the trace at `path`, None when there is none that counts."""
    if not path.is_file():
        return None
    try:
        place = place_of(path)
        answer = msgspec.json.decode(place.read_bytes(), type=Answer)
        os.utime(place.parent)
    except (OSError, msgspec.MsgspecError):
        return None
    if answer.code != code():
        return None
    return msgspec.structs.replace(answer, diagnosis=msgspec.structs.replace(answer.diagnosis, run=str(path)))


def keep_answer(path: Path, who: list[str], diagnosis: Diagnosis) -> None:
    """Keep it; says nothing when that fails."""
    try:
        place = place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, scratch = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(Answer(code(), who, msgspec.structs.replace(diagnosis, run=None))))
        os.replace(scratch, place)
    except OSError:
        pass


def code() -> str:
    """Changes with every file of the package: another rule may give another answer."""
    stamps = sorted(f"{entry.path} {entry.stat().st_size} {entry.stat().st_mtime_ns}" for entry in sources(PACKAGE))
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def sources(folder: Path | str) -> "Iterator[os.DirEntry[str]]":
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from sources(entry.path)
            elif entry.name.endswith((".py", ".so")):
                yield entry
