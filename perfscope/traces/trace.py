"""The Trace: an immutable snapshot of named columnar tables; facts are derived from it by pure
functions and remembered.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from perfscope.traces.run.manifest import Manifest
from perfscope.traces.schema import TABLES

Fact = TypeVar("Fact")

PROFILER_TRACE = "trace"
"""What the readers of profiler traces put in place of the instrumentation level of a recording."""


class Trace:
    """Tables by name (see schema.py), the reasons of those absent, the manifests of its parts (one
    a host).

    `facts` are known beforehand: of a part what only the whole can tell.
    """

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame],
        absent: Mapping[str, str],
        manifests: Sequence[Manifest],
        *,
        span_ns: tuple[int, int] = (0, 0),
        torn: int = 0,
        clock_residual_ns: int = 0,
        path: Path | None = None,
        facts: "Mapping[Callable[[Trace], Any], Any]" = MappingProxyType({}),
    ) -> None:
        self._tables = MappingProxyType(dict(tables))
        self._absent = MappingProxyType(dict(absent))
        self._facts: dict[Callable[[Trace], Any], Any] = dict(facts)
        self.manifests = tuple(manifests)
        self.span_ns = span_ns
        self.torn = torn
        self.clock_residual_ns = clock_residual_ns
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels between processes without its facts, which are derived again where they are
        wanted.
        """
        rest = {
            "span_ns": self.span_ns,
            "torn": self.torn,
            "clock_residual_ns": self.clock_residual_ns,
            "path": self.path,
        }
        return _rebuilt, (dict(self._tables), dict(self._absent), self.manifests, rest)

    def has(self, name: str) -> bool:
        """Is the table there?"""
        return name in self._tables

    @property
    def manifest(self) -> Manifest:
        """The manifest of the first part: that of the only host, for a job on one."""
        return self.manifests[0]

    @property
    def is_profiler_trace(self) -> bool:
        """Whether a profiler wrote it: torch.profiler or Nsight Systems."""
        return self.manifest.depth == PROFILER_TRACE

    @property
    def has_profiled_work(self) -> bool:
        """Whether a profiler recorded operators or devices throughout: then the time budget is
        theirs.

        Not in a recording of our own, whose windows give proportions only; and not in a profiler's
        trace with nothing but ranges, which is judged by these as a recording is.
        """
        return self.is_profiler_trace and any(
            self.has(name) for name in ("ops", "kernels", "launches")
        )

    def table(self, name: str) -> pd.DataFrame | None:
        """The table, not to be changed, or None when it is absent. Raises KeyError for a name that
        no trace can have.
        """
        if name not in TABLES:
            raise KeyError(name)
        return self._tables.get(name)

    def why_absent(self, name: str) -> str:
        """Why a table is not there."""
        return self._absent.get(name, "not recorded")

    def fact(self, derive: Callable[["Trace"], Fact]) -> Fact:
        """What `derive` makes of this trace, computed once; the function itself is the key."""
        if derive not in self._facts:
            self._facts[derive] = derive(self)
        found: Fact = self._facts[derive]
        return found


def _rebuilt(tables: Any, absent: Any, manifests: Any, rest: dict[str, Any]) -> Trace:
    return Trace(tables, absent, manifests, **rest)


def unlabelled(count: int) -> dict[str, Any]:
    """The columns of `ranges` that only NVTX fills, of rows that are none of it."""
    nothing = pd.Categorical.from_codes(
        np.full(count, -1, np.int8), categories=pd.Index([], dtype=str)
    )
    return {"label": nothing, "payload": np.full(count, np.nan)}


def framed(name: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """A table of the schema from its columns: declared order and dtypes. Raises KeyError when a
    column is missing.
    """
    frame = pd.DataFrame({one.name: columns[one.name] for one in TABLES[name]}, copy=False)
    return frame.astype({one.name: one.dtype for one in TABLES[name]})
