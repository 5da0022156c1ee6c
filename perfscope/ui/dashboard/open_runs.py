"""The runs that the dashboard may show, each opened once for all viewers; a few stay in memory.

An address names a run by its id. Only ids of runs under the opened folder lead to a path.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import UsageError
from perfscope.traces.folder_contents import Found, contents, leads_out
from perfscope.traces.memory_snapshot import snapshot_command

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

KEPT_OPEN = 4
REFRESH_S = 1.0
OUTSIDE = "a link in it leads out of the opened folder; open the folder that the link leads to"


@dataclass(frozen=True)
class Opened:
    """A run as it was when it was read."""

    found: Found
    trace: "Trace"
    diagnosis: Diagnosis


class Library:
    """All runs and traces under `root`, or the run or trace that `root` is."""

    def __init__(self, root: Path, ignored: tuple[str, ...] = ()) -> None:
        """`ignored`: ids of findings that have no influence on the verdicts."""
        if not root.exists():
            raise UsageError(
                f"{root} does not exist; name a run folder, a trace or a folder of them"
            )
        self.root = root
        self.ignored = ignored
        self.lock = threading.Lock()
        self.seen: dict[str, Found] = {}
        self.seen_s = -REFRESH_S
        self.open: OrderedDict[str, Opened] = OrderedDict()
        self.opening: dict[str, threading.Lock] = {}

    @property
    def single(self) -> Found | None:
        """The only run, where the library is one run and not a folder of them."""
        runs = self.runs()
        return runs[0] if len(runs) == 1 and runs[0].path == self.root else None

    def runs(self) -> list[Found]:
        """Return the runs, newest first; the folder is read at most once per second."""
        with self.lock:
            if time.monotonic() - self.seen_s >= REFRESH_S:
                self.seen = {found.id: found for found in contents(self.root)}
                self.seen_s = time.monotonic()
            return list(self.seen.values())

    def forget(self) -> None:
        """Read the folder again at the next request."""
        with self.lock:
            self.seen_s = -REFRESH_S

    def get(self, run_id: str) -> Opened:
        """Return a run, read and diagnosed; it is read again when its files have changed.

        Raises UsageError where there is no such run.
        """
        found = next((run for run in self.runs() if run.id == run_id), None)
        if found is None:
            raise UsageError(f"there is no run {run_id!r} under {self.root}")
        if found.is_snapshot:
            raise UsageError(snapshot_text(found))
        with self.lock:
            opening = self.opening.setdefault(run_id, threading.Lock())
        with opening:
            opened = self.kept(found)
            if opened is None:
                refuse_links(found, self.root)
                opened = self.keep(read_and_diagnose(found, self.ignored))
        return opened

    def kept(self, found: Found) -> Opened | None:
        """Return the run as it was read last, None where its files have changed."""
        with self.lock:
            opened = self.open.get(found.id)
            if opened is None or opened.found.stamp != found.stamp:
                return None
            self.open.move_to_end(found.id)
            return opened

    def keep(self, opened: Opened) -> Opened:
        """Keep an opened run in memory in place of the one that was used longest ago."""
        with self.lock:
            self.open[opened.found.id] = opened
            self.open.move_to_end(opened.found.id)
            while len(self.open) > KEPT_OPEN:
                self.open.popitem(last=False)
        return opened


def read_and_diagnose(found: Found, ignored: tuple[str, ...]) -> Opened:
    """Return a run with its diagnosis. Raises PerfscopeError."""
    # Needs pandas, which takes longer to import than the list of runs takes to be served.
    from perfscope.analyzer.diagnose import diagnose_trace

    trace = found.load()
    return Opened(found, trace, diagnose_trace(trace, ignored=ignored))


def refuse_links(found: Found, root: Path) -> None:
    """Raise UsageError where a run would be read from outside the opened folder.

    It is called just before the run is read.
    """
    if found.leads_out or any(leads_out(path, root) for path in found.paths):
        raise UsageError(OUTSIDE)


def snapshot_text(found: Found) -> str:
    """Return what can be done with a memory snapshot."""
    return (
        "perfscope lists memory snapshots and does not read them. PyTorch makes a page of one:"
        f" `{snapshot_command(found.path)}`"
    )
