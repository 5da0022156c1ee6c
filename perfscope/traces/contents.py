"""What a folder holds: run folders and recorded traces, found without reading them whole and
without leaving the folder.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from perfscope.errors import UnreadableRun
from perfscope.traces.kineto.text import head
from perfscope.traces.naming import RANK_IN_NAME
from perfscope.traces.readers import READERS
from perfscope.traces.run.stored import is_run, read_manifest

DEEPEST = 4
MOST = 2000
MOST_NAMED = 3
NO_TRACES = {"node_modules", "site-packages", "__pycache__"}
TELLING = (b'"traceEvents"', b'"schemaVersion"', b'"deviceProperties"', b'"ph"')
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Found:
    """One run or trace. `stamp` changes when its files do."""

    id: str
    name: str
    path: Path
    run: bool
    bytes: int
    changed_s: float
    stamp: str
    parts: tuple[Path, ...] = ()
    """Of a job on several hosts: the run folders of all."""
    leads_out: bool = False
    """A link in it leads out of the opened folder, or it has become one: it is listed and not
    opened.
    """

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that is to be read."""
        return self.parts or (self.path,)


def contents(root: Path) -> list[Found]:
    """Everything under `root` (or `root` itself) that may be opened, newest first. Links are not
    followed.
    """
    one = found(root, root.name or str(root), root) if is_run(root) or root.is_file() else None
    every = [one] if one is not None else list(walk(root))
    return sorted([*jobs(every), *every], key=lambda each: -each.changed_s)


def jobs(every: list[Found]) -> list[Found]:
    """An entry for each job of which run folders of several hosts are there."""
    by_job: dict[str, dict[str, Found]] = {}
    for one in every:
        job, host = job_and_host(one.path, one.stamp) if one.run and not one.leads_out else ("", "")
        if job:
            by_job.setdefault(job, {}).setdefault(host, one)
    return [together(job, hosts) for job, hosts in by_job.items() if len(hosts) > 1]


@lru_cache(maxsize=4 * MOST)
def job_and_host(path: Path, stamp: str) -> tuple[str, str]:
    """(job, host) of a run folder, two empty texts where it does not say; asked again only when it
    has changed.
    """
    try:
        said = read_manifest(path)
    except UnreadableRun:
        return "", ""
    return said.job_id, f"{said.host} {said.boot_id}"


def together(job: str, hosts: dict[str, Found]) -> Found:
    """The entry of a job: newest part first counts, all parts are read."""
    parts = sorted(hosts.values(), key=lambda one: one.name)
    name = " + ".join(one.name for one in parts[:MOST_NAMED]) + (
        " + …" if len(parts) > MOST_NAMED else ""
    )
    size, changed_s = sum(one.bytes for one in parts), max(one.changed_s for one in parts)
    stamp = " ".join(one.stamp for one in parts)
    paths = tuple(one.path for one in parts)
    return Found(
        identity(f"job-{job[:12]}"), name, parts[0].path, True, size, changed_s, stamp, paths
    )


def leads_out(path: Path, root: Path) -> bool:
    """Return whether reading `path` could leave `root`: by a link in it, or because a part of it
    has become a link.
    """
    home = root.resolve()
    if path != root and not inside(path, home):
        return True
    try:
        links = [one for one in entries_read(path) if one.is_symlink()]
    except OSError:  # it has just gone, as whoever reads it will find
        return False
    return not all(inside(one, home) for one in links)


def entries_read(path: Path) -> Iterator[Path]:
    """Yield what reading `path` may open: all that is in a run folder, of another folder its files
    and run folders.
    """
    if is_run(path):
        yield from path.rglob("*")
    elif path.is_dir():
        yield from (one for one in path.iterdir() if one.is_file() or is_run(one))


def inside(path: Path, home: Path) -> bool:
    """Return whether a path, its links followed, is below `home`."""
    try:
        return path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # a ring of links
        return False


def walk(root: Path) -> Iterator[Found]:
    """Run folders and trace files below, at most MOST of them."""
    count = 0
    for folder, names, files in os.walk(root, followlinks=False):
        here = Path(folder)
        deep = len(here.relative_to(root).parts)
        runs = [name for name in names if is_run(here / name) and not (here / name).is_symlink()]
        names[:] = [
            n
            for n in names
            if deep < DEEPEST and n not in runs and n not in NO_TRACES and not n.startswith(".")
        ]
        traces = [name for name in files if looks_like_trace(here / name)]
        if (whole := of_ranks(root, here, traces)) is not None:
            yield whole
            count += 1
        for name in sorted([*runs, *traces]):
            one = found(here / name, str((here / name).relative_to(root)), root)
            if one is not None:
                yield one
                count += 1
            if count >= MOST:
                return


def of_ranks(root: Path, folder: Path, traces: list[str]) -> Found | None:
    """The traces of a folder as one job, when their names say that they are of several ranks."""
    if len({said[1] for name in traces if (said := RANK_IN_NAME.search(name))}) < 2:
        return None
    parts = [
        one for name in sorted(traces) if (one := found(folder / name, name, root)) is not None
    ]
    if not parts:  # all of them have just gone
        return None
    name = str(folder.relative_to(root)) if folder != root else root.resolve().name
    size, changed_s = sum(one.bytes for one in parts), max(one.changed_s for one in parts)
    title, stamp = f"{name}/ ({len(parts)} ranks)", f"{size}-{changed_s}"
    out = leads_out(folder, root)
    return Found(identity(f"{name}/"), title, folder, False, size, changed_s, stamp, leads_out=out)


def looks_like_trace(path: Path) -> bool:
    """A regular file that some reader would try and whose head is that of a trace: a folder holds
    other JSON too.
    """
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and tells(path, info.st_size, info.st_mtime_ns)


@lru_cache(maxsize=4 * MOST)
def tells(path: Path, size_bytes: int, changed_ns: int) -> bool:
    """Does the head of a file look like a trace? Asked again only when the file has changed."""
    if not size_bytes or not any(reader.sniff(path) for reader in READERS):
        return False
    start = head(path, HEAD_BYTES)
    return start.lstrip()[:1] not in (b"{", b"[") or any(word in start for word in TELLING)


def found(path: Path, name: str, root: Path) -> Found | None:
    """What is known of it without opening it; None when it has just gone."""
    files, out = [path], False
    try:
        if path.is_dir():
            entries = list(path.rglob("*"))
            links = {one for one in entries if one.is_symlink()}
            files = [one for one in entries if one not in links and one.is_file()]
            out = not all(inside(one, root.resolve()) for one in links)
        stats = [one.stat() for one in files]
    except OSError:
        return None
    if not stats:
        return None
    size, changed_s = sum(one.st_size for one in stats), max(one.st_mtime for one in stats)
    stamp = f"{size}-{changed_s}"
    return Found(identity(name), name, path, path.is_dir(), size, changed_s, stamp, leads_out=out)


def identity(name: str) -> str:
    """A name that can stand in an address; two names never share one."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    if plain == name:
        return plain
    return f"{plain}-{hashlib.blake2b(name.encode('utf-8', 'surrogateescape'), digest_size=4).hexdigest()}"  # noqa: E501
