"""`perfscope.load(path)` and `perfscope.diagnose(path_or_run)`: recordings and traces from
Python.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from perfscope.analyzer.diagnosis import Diagnosis
    from perfscope.traces.trace import Trace

    RunPath = str | os.PathLike[str]


class RecordedRun:
    """A run folder or trace that was read."""

    def __init__(self, trace: "Trace") -> None:
        self.trace = trace
        self.tables = Tables(trace)

    @property
    def path(self) -> Path | None:
        """Where it was read from."""
        return self.trace.path

    @cached_property
    def diagnosis(self) -> "Diagnosis":
        """The diagnosis, as `--json` prints it."""
        return diagnose(self)

    def __repr__(self) -> str:
        return f"<perfscope run {self.path}: {', '.join(self.tables)}>"


class Tables(Mapping[str, "pd.DataFrame"]):
    """The tables that were recorded, by name, as pandas frames with the columns of
    `docs/tables.md`.

    A frame is a copy and may be changed. `why_missing` says why a table is not there.
    """

    def __init__(self, trace: "Trace") -> None:
        from perfscope.traces.schema import TABLES

        self._trace = trace
        self._names = [name for name in TABLES if trace.has(name)]
        self._frames: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> "pd.DataFrame":
        if name not in self._frames:
            table = self._trace.table(name)
            if table is None:
                raise KeyError(f"{name}: {self.why_missing(name)}")
            self._frames[name] = table.copy()
        return self._frames[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def why_missing(self, name: str) -> str:
        """Return why a table is not there."""
        return self._trace.why_absent(name)


def load(path: "RunPath") -> RecordedRun:
    """Read a run folder, a trace, or a folder with the traces of several ranks.

    Raises UsageError, or UnreadableRun, when there is nothing to read.
    """
    from perfscope.traces.load import load_trace

    return RecordedRun(load_trace(Path(path)))


def diagnose(run: "RunPath | RecordedRun", *, ignore: Collection[str] = ()) -> "Diagnosis":
    """Return the diagnosis of a run, or of what is at a path: the object that `--json` prints.

    Findings whose ids are in `ignore` have no influence on the verdict. Raises UsageError for an id
    that no finding has, and as `load`.
    """
    from perfscope.analyzer.diagnose import diagnose_trace
    from perfscope.analyzer.findings import RULES

    unknown = sorted(set(ignore) - set(RULES))
    if unknown:
        raise UsageError(
            f"no finding has the id {unknown[0]!r}. `perfscope explain` lists all ids."
        )
    recorded = run if isinstance(run, RecordedRun) else load(run)
    return diagnose_trace(recorded.trace, ignored=ignore)
