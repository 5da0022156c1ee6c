"""The runs that the dashboard may show: which there are, each opened once for all viewers, a few
kept in memory.

An address names a run by its id; only ids of what was found under the opened folder lead to a path.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from perfscope.analyzer.diagnose import diagnose
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import UsageError
from perfscope.traces.contents import Found, contents, leads_out
from perfscope.traces.load import load_all
from perfscope.traces.trace import Trace

KEPT_OPEN = 4
LOOK_AGAIN_S = 1.0
OUTSIDE = "a link in it leads out of the folder that is open here; open the folder that it leads to"


@dataclass(frozen=True)
class Opened:
    """A run as it was when it was read."""

    found: Found
    trace: Trace
    diagnosis: Diagnosis


class Library:
    """Everything under `root`, or the one run or trace that `root` is."""

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
        self.seen_s = -LOOK_AGAIN_S
        self.open: OrderedDict[str, Opened] = OrderedDict()
        self.opening: dict[str, threading.Lock] = {}

    @property
    def single(self) -> Found | None:
        """The only run, where the library is one run and not a folder of them."""
        runs = self.runs()
        return runs[0] if len(runs) == 1 and runs[0].path == self.root else None

    def runs(self) -> list[Found]:
        """What there is now, newest first; looked for at most once a second."""
        with self.lock:
            if time.monotonic() - self.seen_s >= LOOK_AGAIN_S:
                self.seen = {one.id: one for one in contents(self.root)}
                self.seen_s = time.monotonic()
            return list(self.seen.values())

    def get(self, run_id: str) -> Opened:
        """The run, read and diagnosed, again when its files have changed. Raises UsageError where
        there is none to read.
        """
        found = next((one for one in self.runs() if one.id == run_id), None)
        if found is None:
            raise UsageError(f"there is no run {run_id!r} under {self.root}")
        with self.lock:
            mine = self.opening.setdefault(run_id, threading.Lock())
        with mine:
            opened = self.kept(found)
            if opened is None:
                refuse_links(found, self.root)
                trace = load_all(found.paths)
                opened = self.keep(Opened(found, trace, diagnose(trace, ignored=self.ignored)))
        return opened

    def kept(self, found: Found) -> Opened | None:
        with self.lock:
            opened = self.open.get(found.id)
            if opened is None or opened.found.stamp != found.stamp:
                return None
            self.open.move_to_end(found.id)
            return opened

    def keep(self, opened: Opened) -> Opened:
        with self.lock:
            self.open[opened.found.id] = opened
            self.open.move_to_end(opened.found.id)
            while len(self.open) > KEPT_OPEN:
                self.open.popitem(last=False)
        return opened


def refuse_links(found: Found, root: Path) -> None:
    """Raise UsageError where a run would be read from outside the opened folder; looked at just
    before it is read.
    """
    if found.leads_out or any(leads_out(path, root) for path in found.paths):
        raise UsageError(OUTSIDE)
