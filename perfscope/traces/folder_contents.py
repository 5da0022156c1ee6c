"""Lists the run folders and traces in a folder, without reading them whole and without leaving the
folder.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perfscope.errors import UnreadableRun
from perfscope.traces.jobs.rank_files import declared_size, jobs_of_files, name_of_ranks
from perfscope.traces.kineto.text import head
from perfscope.traces.load import load_all, load_parts
from perfscope.traces.memory_snapshot import is_memory_snapshot
from perfscope.traces.readers import READERS
from perfscope.traces.run_folder.stored import is_run, read_manifest
from perfscope.traces.shown_text import shown_text

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

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
    """For a job, the run folders of its hosts or the traces of its ranks."""
    leads_out: bool = False
    """Whether a link in it leads out of the opened folder. Such an entry is listed, and not
    opened.
    """
    job: str = ""
    """The id of the entry of the job that it is a part of."""
    is_snapshot: bool = False
    """Whether it is a memory snapshot, which is listed and cannot be opened."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths to read."""
        return self.parts or (self.path,)

    def load(self) -> "Trace":
        """Return its Trace; ranks that cannot be read are left out. Raises PerfscopeError."""
        if self.parts and not self.run:
            return load_parts(self.parts, self.path)
        return load_all(self.paths)


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
        entries = with_multi_host_jobs(list(walk_folder(root)))
    return sorted(entries, key=lambda entry: -entry.changed_s)


def with_multi_host_jobs(entries: list[Found]) -> list[Found]:
    """Return the entries, and before them one for each job with run folders of several hosts."""
    runs_of_job: dict[str, dict[str, Found]] = {}
    for entry in entries:
        if entry.run and not entry.leads_out:
            job, host = job_and_host(entry.path, entry.stamp)
            if job:
                runs_of_job.setdefault(job, {}).setdefault(host, entry)
    jobs: list[Found] = []
    parts: dict[str, str] = {}
    for job, runs in runs_of_job.items():
        if len(runs) > 1:
            jobs.append(job_entry(job, list(runs.values())))
            parts |= dict.fromkeys([run.id for run in runs.values()], jobs[-1].id)
    return [*jobs, *(replace(entry, job=parts.get(entry.id, entry.job)) for entry in entries)]


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
        name=shown_text(f"{name} + …" if len(runs) > MOST_NAMED else name),
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
        traces = [name for name in sorted(files) if looks_like_trace(folder / name)]
        snapshots = [name for name in files if is_memory_snapshot(folder / name)]
        jobs = rank_jobs(root, folder, traces)
        yield from (job for job, _ in jobs)
        count += len(jobs)
        job_of_file = {path: job.id for job, parts in jobs for path in parts}
        for name in sorted([*runs, *traces, *snapshots]):
            path = folder / name
            entry = describe_entry(path, str(path.relative_to(root)), root)
            if entry is not None:
                job = job_of_file.get(path, "")
                yield replace(entry, job=job, is_snapshot=name in snapshots)
                count += 1
            if count >= MOST_ENTRIES:
                return


def is_walked(folder_name: str) -> bool:
    """Return whether a folder with this name may contain traces of the user."""
    return folder_name not in SKIPPED_FOLDERS and not folder_name.startswith(".")


def rank_jobs(
    root: Path, folder: Path, traces: Sequence[str]
) -> list[tuple[Found, tuple[Path, ...]]]:
    """Return an entry for each job whose ranks have traces in a folder, and its files."""
    groups = jobs_of_files([folder / name for name in traces], size_of_job)
    is_only_job = len(groups) == 1 and len(groups[0]) == len(traces)
    found = []
    for files in groups:
        job = rank_job(root, folder, files, "" if is_only_job else name_of_ranks(files[0]))
        if job is not None:
            found.append((job, tuple(files)))
    return found


def rank_job(root: Path, folder: Path, files: Sequence[Path], pattern: str) -> Found | None:
    """Return the entry of a job of several ranks, None when its files were removed just now.

    `pattern`: what its files are called, "" where they are all traces of the folder.
    """
    try:
        summary = summarize_files(files)
    except OSError:
        return None
    if summary is None:
        return None
    name = str(folder.relative_to(root)) if folder != root else root.resolve().name
    return Found(
        id=url_id(f"{name}/{pattern}"),
        name=shown_text(f"{name}/{pattern} ({len(files)} ranks)"),
        path=folder,
        run=False,
        bytes=summary.size_bytes,
        changed_s=summary.changed_s,
        stamp=summary.stamp,
        parts=tuple(files),
        leads_out=not pattern and leads_out(folder, root),
    )


def size_of_job(path: Path) -> str:
    """Return the number of ranks that a trace declares, "" for none."""
    try:
        info = path.lstat()
    except OSError:
        return ""
    return known_size_of_job(path, info.st_size, info.st_mtime_ns)


@lru_cache(maxsize=4 * MOST_ENTRIES)
def known_size_of_job(path: Path, size_bytes: int, changed_ns: int) -> str:
    """Return the number of ranks that a trace declares; another size or time makes it be read."""
    return declared_size(head(path, HEAD_BYTES))


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
        name=shown_text(name),
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
