"""The answers for the runs of a folder, stored in the user's cache by the contents of their files.

A run that was copied or moved has the same answer. An answer of other code, or of other ignored
findings, is not used.
"""

import os
import tempfile
from pathlib import Path

import msgspec

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import UnreadableRun
from perfscope.traces.cache.cache_folder import ANSWERS, create_cache_folder, safe_cache_folder
from perfscope.traces.cache.content import content_key
from perfscope.traces.calibrations import calibration_stamps
from perfscope.traces.encoded_json import encoded_json
from perfscope.traces.folder_contents import Found
from perfscope.traces.naming import path_text
from perfscope.traces.regular_file import is_regular
from perfscope.traces.run_folder.stored import read_manifest
from perfscope.ui.answer_cache import remove_oldest

PLACE = "{path}"
"""In a stored error, in place of the path of the run."""


class StoredVerdict(msgspec.Struct):
    """A diagnosis and the description of the recorded program, or why the run cannot be read."""

    subject: list[str]
    diagnosis: Diagnosis | None
    error: str | None = None
    color: str = ""
    """The category whose color marks the verdict."""


def verdict_key(found: Found, ignored: tuple[str, ...], code: str) -> str:
    """Return the key of the answer for a run: its files, the code, and what the code reads besides.

    Raises OSError.
    """
    facts = ("verdict", code, *sorted(ignored), *calibration_stamps())
    return content_key(files_of_run(found), *facts)


def file_states(found: Found) -> list[tuple[int, int, int]]:
    """Return inode, size and time of the last change of the files of a run: of one that changes
    and is changed back, the last one differs. Raises OSError.
    """
    states = [os.stat(path) for _, path in sorted(files_of_run(found))]
    return [(state.st_ino, state.st_size, state.st_ctime_ns) for state in states]


def files_of_run(found: Found) -> list[tuple[str, Path]]:
    """Return the files of a run, each with the part of its path that belongs to the run."""
    files = []
    for number, part in enumerate(found.paths):
        if part.is_dir():
            entries = [entry for entry in part.rglob("*") if is_regular(entry)]
            files += [(f"{number}/{entry.relative_to(part)}", entry) for entry in entries]
        else:
            files.append((f"{number}/{part.name}", part))
    return files


def recalled_verdict(key: str, found: Found) -> StoredVerdict | None:
    """Return the stored answer with a key, None where none is valid."""
    folder = safe_cache_folder(ANSWERS)
    if folder is None:
        return None
    place = folder / f"{key}.json"
    try:
        stored = msgspec.json.decode(place.read_bytes(), type=StoredVerdict)
        os.utime(place)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    if stored.error is not None:
        stored.error = stored.error.replace(PLACE, str(found.path))
    if stored.diagnosis is not None:
        stored.diagnosis = msgspec.structs.replace(stored.diagnosis, run=path_text(found.path))
    return stored


def store_verdict(key: str, found: Found, verdict: StoredVerdict) -> None:
    """Store an answer. Does nothing where that fails or where the cache is not safe to use."""
    if verdict.error is not None:
        error = verdict.error.replace(str(found.path), PLACE)
        verdict = msgspec.structs.replace(verdict, error=error)
    try:
        root = create_cache_folder(ANSWERS)
        if root is None:
            return
        handle, scratch = tempfile.mkstemp(prefix=".new-", dir=root)
        with os.fdopen(handle, "wb") as file:
            file.write(encoded_json(verdict))
        os.replace(scratch, root / f"{key}.json")
        remove_oldest(root)
    except (OSError, ValueError):
        pass


def is_complete(found: Found) -> bool:
    """Return whether nothing more will be written to a run, so that its answer stays valid."""
    try:
        return not found.run or all(read_manifest(path).finished for path in found.paths)
    except UnreadableRun:
        return False
