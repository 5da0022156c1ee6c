"""Lists the run folders and traces in a folder, without reading them whole and without leaving the
folder.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from perfscope.errors import UnreadableRun
from perfscope.traces.kineto.text import head
from perfscope.traces.naming import RANK_IN_NAME
from perfscope.traces.readers import READERS
from perfscope.traces.run.stored import is_run, read_manifest

DEEPEST: Final = 4
MOST_ENTRIES: Final = 2000
MOST_NAMED: Final = 3
SKIPPED_FOLDERS: Final = {"node_modules", "site-packages", "__pycache__"}
SIGNS_OF_A_TRACE: Final = (b'"traceEvents"', b'"schemaVersion"', b'"deviceProperties"', b'"ph"')
HEAD_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Found:
    """A run or trace in the opened folder."""

    id: str
    """Unique in the folder, and usable in a URL."""
    name: str
    path: Path
    run: bool
    """Whether it is a run folder."""
    bytes: int
    changed_s: float
    stamp: str
    """Changes when its files do."""
    parts: tuple[Path, ...] = ()
    """For a job on several hosts, the run folders of all hosts."""
    leads_out: bool = False
    """Whether a link in it leads out of the opened folder. Such an entry is listed, and not
    opened.
    """

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths to read."""
        return self.parts or (self.path,)


@dataclass(frozen=True)
class FileSummary:
    """The size and the last change of the files of an entry."""

    size_bytes: int
    changed_s: float

    @property
    def stamp(self) -> str:
        """Changes when a file does."""
        return f"{self.size_bytes}-{self.changed_s}"


def contents(root: Path) -> list[Found]:
    """Return every run and trace below `root` (or `root` itself), newest first. Links are not
    followed.
    """
    if is_run(root) or root.is_file():
        entry = describe_entry(root, root.name or str(root), root)
        entries = [entry] if entry is not None else []
    else:
        entries = list(walk_folder(root))
    return sorted([*multi_host_jobs(entries), *entries], key=lambda entry: -entry.changed_s)


def multi_host_jobs(entries: list[Found]) -> list[Found]:
    """Return an entry for each job that has run folders of several hosts."""
    runs_of_job: dict[str, dict[str, Found]] = {}
    for entry in entries:
        if entry.run and not entry.leads_out:
            job, host = job_and_host(entry.path, entry.stamp)
            if job:
                runs_of_job.setdefault(job, {}).setdefault(host, entry)
    return [
        job_entry(job, list(runs.values())) for job, runs in runs_of_job.items() if len(runs) > 1
    ]


@lru_cache(maxsize=4 * MOST_ENTRIES)
def job_and_host(path: Path, stamp: str) -> tuple[str, str]:
    """Return (job id, host) of a run folder, two empty texts where they are unknown.

    The result is cached; a new `stamp` makes the manifest be read again.
    """
    try:
        manifest = read_manifest(path)
    except UnreadableRun:
        return "", ""
    return manifest.job_id, f"{manifest.host} {manifest.boot_id}"


def job_entry(job: str, runs: list[Found]) -> Found:
    """Return the entry of a job on several hosts."""
    runs = sorted(runs, key=lambda run: run.name)
    name = " + ".join(run.name for run in runs[:MOST_NAMED])
    return Found(
        id=url_id(f"job-{job[:12]}"),
        name=f"{name} + …" if len(runs) > MOST_NAMED else name,
        path=runs[0].path,
        run=True,
        bytes=sum(run.bytes for run in runs),
        changed_s=max(run.changed_s for run in runs),
        stamp=" ".join(run.stamp for run in runs),
        parts=tuple(run.path for run in runs),
    )


def leads_out(path: Path, root: Path) -> bool:
    """Return whether reading `path` could leave `root`: by a link in it, or because a part of the
    path was replaced by a link.
    """
    real_root = root.resolve()
    if path != root and not is_below(path, real_root):
        return True
    try:
        links = [entry for entry in entries_to_read(path) if entry.is_symlink()]
    except OSError:  # it was removed just now, which reading it will report
        return False
    return not all(is_below(link, real_root) for link in links)


def entries_to_read(path: Path) -> Iterator[Path]:
    """Yield what reading `path` may open: everything in a run folder, and the files and run folders
    in any other folder.
    """
    if is_run(path):
        yield from path.rglob("*")
    elif path.is_dir():
        yield from (entry for entry in path.iterdir() if entry.is_file() or is_run(entry))


def is_below(path: Path, real_root: Path) -> bool:
    """Return whether a path, with its links followed, is below a folder without links."""
    try:
        return path.resolve().is_relative_to(real_root)
    except (OSError, RuntimeError):  # a loop of links
        return False


def walk_folder(root: Path) -> Iterator[Found]:
    """Yield run folders and traces below `root`, at most MOST_ENTRIES of them."""
    count = 0
    for folder_name, subfolders, files in os.walk(root, followlinks=False):
        folder = Path(folder_name)
        depth = len(folder.relative_to(root).parts)
        runs = [
            name
            for name in subfolders
            if is_run(folder / name) and not (folder / name).is_symlink()
        ]
        subfolders[:] = [
            name for name in subfolders if depth < DEEPEST and name not in runs and is_walked(name)
        ]
        traces = [name for name in files if looks_like_trace(folder / name)]
        ranks = rank_traces_entry(root, folder, traces)
        if ranks is not None:
            yield ranks
            count += 1
        for name in sorted([*runs, *traces]):
            path = folder / name
            entry = describe_entry(path, str(path.relative_to(root)), root)
            if entry is not None:
                yield entry
                count += 1
            if count >= MOST_ENTRIES:
                return


def is_walked(folder_name: str) -> bool:
    """Return whether a folder with this name may contain traces of the user."""
    return folder_name not in SKIPPED_FOLDERS and not folder_name.startswith(".")


def rank_traces_entry(root: Path, folder: Path, traces: list[str]) -> Found | None:
    """Return the traces of a folder as one job, None unless their names have several ranks."""
    ranks = {match[1] for name in traces if (match := RANK_IN_NAME.search(name))}
    if len(ranks) < 2:
        return None
    entries = [describe_entry(folder / name, name, root) for name in sorted(traces)]
    parts = [entry for entry in entries if entry is not None]
    if not parts:  # all of them were removed just now
        return None
    name = str(folder.relative_to(root)) if folder != root else root.resolve().name
    files = FileSummary(sum(part.bytes for part in parts), max(part.changed_s for part in parts))
    return Found(
        id=url_id(f"{name}/"),
        name=f"{name}/ ({len(parts)} ranks)",
        path=folder,
        run=False,
        bytes=files.size_bytes,
        changed_s=files.changed_s,
        stamp=files.stamp,
        leads_out=leads_out(folder, root),
    )


def looks_like_trace(path: Path) -> bool:
    """Return whether a path is a regular file that begins like a trace. Folders contain other JSON
    files too.
    """
    try:
        info = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(info.st_mode):
        return False
    return begins_like_trace(path, info.st_size, info.st_mtime_ns)


@lru_cache(maxsize=4 * MOST_ENTRIES)
def begins_like_trace(path: Path, size_bytes: int, changed_ns: int) -> bool:
    """Return whether a file begins like a trace.

    The result is cached; another size or time makes the file be read again.
    """
    if not size_bytes or not any(reader.sniff(path) for reader in READERS):
        return False
    start = head(path, HEAD_BYTES)
    is_json = start.lstrip()[:1] in (b"{", b"[")
    return not is_json or any(sign in start for sign in SIGNS_OF_A_TRACE)


def describe_entry(path: Path, name: str, root: Path) -> Found | None:
    """Return the entry for a path without opening it, None when it was removed just now."""
    files, has_outside_link = [path], False
    try:
        if path.is_dir():
            entries = list(path.rglob("*"))
            links = {entry for entry in entries if entry.is_symlink()}
            files = [entry for entry in entries if entry not in links and entry.is_file()]
            real_root = root.resolve()
            has_outside_link = not all(is_below(link, real_root) for link in links)
        summary = summarize_files(files)
    except OSError:
        return None
    if summary is None:
        return None
    return Found(
        id=url_id(name),
        name=name,
        path=path,
        run=path.is_dir(),
        bytes=summary.size_bytes,
        changed_s=summary.changed_s,
        stamp=summary.stamp,
        leads_out=has_outside_link,
    )


def summarize_files(files: Iterable[Path]) -> FileSummary | None:
    """Return the size and the last change of files, None without any. Raises OSError."""
    stats = [file.stat() for file in files]
    if not stats:
        return None
    return FileSummary(sum(info.st_size for info in stats), max(info.st_mtime for info in stats))


def url_id(name: str) -> str:
    """Return an id for use in URLs. Different names have different ids."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    if plain == name:
        return plain
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4)
    return f"{plain}-{digest.hexdigest()}"
