"""Writes a trace in another format. The export is complete or absent, and replaces only earlier
exports.
"""

import os
import secrets
import shutil
from pathlib import Path

from perfscope.errors import PerfscopeError, UsageError
from perfscope.traces.regular_file import open_regular
from perfscope.traces.run_folder.open_folder import caller_of_sudo
from perfscope.traces.trace import Trace
from perfscope.traces.writer import Writer
from perfscope.traces.written_tables import HEADING

TRACE_SUFFIXES = (".json.gz", ".json", ".sqlite", ".perfscope")


def default_path(source: Path, writer: Writer) -> Path:
    """Return a path in the working directory, named after the trace."""
    stem = source.resolve().name
    for suffix in TRACE_SUFFIXES:
        if stem.endswith(suffix):
            stem = stem.removesuffix(suffix)
            break
    return Path(writer.file_name(stem))


def refuse_to_overwrite(path: Path, writer: Writer, *, force: bool) -> None:
    """Raise UsageError where the export cannot be written to `path`, or must not be."""
    if not path.parent.is_dir():
        raise UsageError(
            f"{path.parent} is not a folder. Create it, or choose another path with -o."
        )
    if not os.path.lexists(path):
        return
    if not force:
        raise UsageError(
            f"{path} exists. Add --force to overwrite it, or choose another path with -o."
        )
    if path.is_dir() != writer.writes_folder:
        found, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise UsageError(
            f"{path} is {found}, and --to {writer.name} writes {wanted}. Choose another path with"
            " -o."
        )
    if path.is_dir() and any(path.iterdir()) and not is_export(path):
        raise UsageError(
            f"{path} is a folder that perfscope did not export. Choose another path with -o."
        )


def is_export(folder: Path) -> bool:
    """Return whether perfscope wrote this folder of tables, for this user."""
    try:
        if folder.lstat().st_uid not in (os.geteuid(), caller_of_sudo()[0]):
            return False
        with open_regular(folder / "README.md") as file:
            return file.read(len(HEADING) + 1) == f"{HEADING}\n".encode()
    except OSError:
        return False


def export(trace: Trace, writer: Writer, path: Path, *, force: bool = False) -> None:
    """Write a trace to a temporary path next to `path`, then rename it.

    Raises UsageError, or PerfscopeError when the export cannot be written.
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
            f"cannot write {path}: {error.strerror or error}. Choose another path with -o."
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
