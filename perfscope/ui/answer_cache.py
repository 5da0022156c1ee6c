"""The answer to a large trace, kept in the reader's own cache: the next call prints it without
reading or deriving anything.

It is valid for exactly the file and the code that it came from; any other is as if it had never
been kept.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.cache.place import ANSWERS, answer_file, create_cache_folder
from perfscope.traces.naming import path_text
from perfscope.traces.regular_file import is_regular

NAME: Final = re.compile(r"[0-9a-f]{32}\.json")
MOST_ANSWERS: Final = 500
PACKAGE: Final = Path(__file__).resolve().parents[1]


class Answer(msgspec.Struct):
    """What is printed: the diagnosis, and who was looked at; `code` is the code that both came
    from.
    """

    code: str
    who: list[str]
    diagnosis: Diagnosis


def recalled_answer(path: Path) -> Answer | None:
    """The kept answer to the trace at `path`, None when there is none that counts."""
    if not path.is_file():
        return None
    try:
        place = answer_file(path)
        if place is None:
            return None
        answer = msgspec.json.decode(place.read_bytes(), type=Answer)
        os.utime(place)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    if answer.code != code():
        return None
    return msgspec.structs.replace(
        answer, diagnosis=msgspec.structs.replace(answer.diagnosis, run=path_text(path))
    )


def keep_answer(path: Path, who: list[str], diagnosis: Diagnosis) -> None:
    """Keep the answer to the trace at `path`; does nothing where that fails or the cache is not
    safe.
    """
    try:
        root, place = create_cache_folder(ANSWERS), answer_file(path)
        if root is None or place is None:
            return
        handle, scratch = tempfile.mkstemp(prefix=".new-", dir=root)
        with os.fdopen(handle, "wb") as file:
            file.write(
                msgspec.json.encode(
                    Answer(code(), who, msgspec.structs.replace(diagnosis, run=None))
                )
            )
        os.replace(scratch, place)
        thin_out(root)
    except (OSError, ValueError):
        pass


def thin_out(root: Path, most: int = MOST_ANSWERS) -> None:
    """Remove the answers that were used longest ago beyond the `most` newest; only files that
    `keep_answer` made.
    """
    answers = [one for one in root.iterdir() if NAME.fullmatch(one.name) and is_regular(one)]
    for answer in sorted(answers, key=lambda one: one.stat().st_mtime, reverse=True)[most:]:
        answer.unlink(missing_ok=True)


def code() -> str:
    """Changes with every file of the package: another rule may give another answer."""
    stamps = sorted(
        f"{entry.path} {entry.stat().st_size} {entry.stat().st_mtime_ns}"
        for entry in sources(PACKAGE)
    )
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def sources(folder: Path | str) -> "Iterator[os.DirEntry[str]]":
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from sources(entry.path)
            elif entry.name.endswith((".py", ".so")):
                yield entry
