"""Writes a trace in another format: whole or not at all, and over nothing that was there, unless
asked.
"""

import os
import secrets
import shutil
from pathlib import Path
from types import ModuleType

from perfscope.errors import PerfscopeError, UsageError
from perfscope.traces.trace import Trace
from perfscope.traces.written_tables import HEADING

SUFFIXES = (".json.gz", ".json", ".sqlite", ".perfscope")


def default_path(source: Path, writer: ModuleType) -> Path:
    """In the working directory, named after the trace."""
    name = source.resolve().name
    stem = next((name.removesuffix(one) for one in SUFFIXES if name.endswith(one)), name)
    return Path(f"{stem}{writer.SUFFIX}" if writer.SUFFIX else f"{stem}.{writer.NAME}")


def refuse_to_overwrite(path: Path, writer: ModuleType, *, force: bool) -> None:
    """Raises UsageError where something is in the way."""
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it, or name another file with -o")
    if not os.path.lexists(path):
        return
    if not force:
        raise UsageError(f"{path} exists; `--force` overwrites it, -o names another")
    if path.is_dir() != (not writer.SUFFIX):
        raise UsageError(
            f"{path} is {'a folder' if path.is_dir() else 'a file'}, not what this would write;"
            " name another with -o"
        )
    if path.is_dir() and any(path.iterdir()) and not is_export(path):
        raise UsageError(
            f"{path} is a folder that perfscope did not export to; name another with -o"
        )


def is_export(folder: Path) -> bool:
    """Did we write this folder of tables?"""
    try:
        with open(folder / "README.md", encoding="utf-8", errors="replace") as file:
            return file.readline().strip() == HEADING
    except OSError:
        return False


def export(trace: Trace, writer: ModuleType, path: Path, *, force: bool = False) -> None:
    """Writes beside `path` and renames. Raises UsageError, or PerfscopeError when it cannot be
    written.
    """
    refuse_to_overwrite(path, writer, force=force)
    packed = ".gz" if path.name.endswith(".gz") else ""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part{packed}")
    try:
        writer.write(trace, part)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    except OSError as error:
        raise PerfscopeError(
            f"cannot write {path}: {error.strerror or error}; name another place with -o"
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
