"""The answers for large traces, stored in the user's cache.

The next call on the same file prints the stored answer without reading the trace. An answer is
valid only for exactly the file and the code that it came from.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.cache.cache_folder import (
    ANSWERS,
    answer_file,
    create_cache_folder,
    key_before_reading,
)
from perfscope.traces.encoded_json import encoded_json
from perfscope.traces.naming import path_text
from perfscope.traces.regular_file import is_regular

NAME: Final = re.compile(r"[0-9a-f]{32}\.json")
MOST_ANSWERS: Final = 500
PACKAGE: Final = Path(__file__).resolve().parents[1]


class CachedAnswer(msgspec.Struct):
    """A diagnosis, the description of the recorded program, and the code that made both."""

    code: str
    subject: list[str]
    diagnosis: Diagnosis


@dataclass(frozen=True)
class FileToRead:
    """A file whose answer will be cached, and its key before it was read."""

    path: Path
    key: str | None

    @classmethod
    def of(cls, path: Path) -> "FileToRead":
        """Return the file as it is now."""
        return cls(path, key_before_reading(path))


def recalled_answer(path: Path) -> CachedAnswer | None:
    """Return the stored answer for the trace at `path`, None where none is valid."""
    if not path.is_file():
        return None
    try:
        place = answer_file(path)
        if place is None:
            return None
        answer = msgspec.json.decode(place.read_bytes(), type=CachedAnswer)
        os.utime(place)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    if answer.code != code_version():
        return None
    diagnosis = msgspec.structs.replace(answer.diagnosis, run=path_text(path))
    return msgspec.structs.replace(answer, diagnosis=diagnosis)


def keep_answer(file: FileToRead, subject: list[str], diagnosis: Diagnosis) -> None:
    """Store the answer for the trace in a file.

    Does nothing where that fails, where the cache is not safe, and where the file has changed.
    """
    try:
        root, place = create_cache_folder(ANSWERS), answer_file(file.path)
        if root is None or place is None or place.stem != file.key:
            return
        without_path = msgspec.structs.replace(diagnosis, run=None)
        answer = CachedAnswer(code_version(), subject, without_path)
        handle, scratch = tempfile.mkstemp(prefix=".new-", dir=root)
        with os.fdopen(handle, "wb") as written:
            written.write(encoded_json(answer))
        os.replace(scratch, place)
        remove_oldest(root)
    except (OSError, ValueError):
        pass


def remove_oldest(root: Path, most: int = MOST_ANSWERS) -> None:
    """Remove the answers that were used longest ago, so that `most` remain.

    Only files that `keep_answer` wrote are removed.
    """
    answers = [path for path in root.iterdir() if NAME.fullmatch(path.name) and is_regular(path)]
    answers.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for answer in answers[most:]:
        answer.unlink(missing_ok=True)


def code_version() -> str:
    """Return a hash that changes with every file of the package.

    A changed rule can change any answer.
    """
    stamps = sorted(
        f"{entry.path} {entry.stat().st_size} {entry.stat().st_mtime_ns}"
        for entry in code_files(PACKAGE)
    )
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def code_files(folder: Path | str) -> "Iterator[os.DirEntry[str]]":
    """Yield the Python and extension modules below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from code_files(entry.path)
            elif entry.name.endswith((".py", ".so")):
                yield entry
