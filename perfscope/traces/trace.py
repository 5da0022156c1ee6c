"""The Trace: the immutable tables of one recording, from which everything else is computed."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.trace_kind import TraceKind

Fact = TypeVar("Fact")
Keys = ParamSpec("Keys")
FEW_NAMES = 100
PROFILED_WORK = ("ops", "kernels", "launches")
"""Tables that a profiler fills with the operators and the device work of a run."""


class Trace:
    """The tables of a recording by name (see schema.py), the reason for each table that is absent,
    and one manifest per host.

    `kind` is set by the reader and says which program made the recording. `facts` are values known
    in advance: those of a part of a job that are only known for the whole job.
    """

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame],
        absent: Mapping[str, str],
        manifests: Sequence[Manifest],
        *,
        kind: TraceKind = TraceKind.RECORDING,
        span_ns: tuple[int, int] = (0, 0),
        damaged_records: int = 0,
        clock_residual_ns: int = 0,
        path: Path | None = None,
        facts: "Mapping[Callable[[Trace], Any], Any]" = MappingProxyType({}),
    ) -> None:
        self._tables = MappingProxyType(dict(tables))
        self._absent = MappingProxyType(dict(absent))
        self._facts: dict[tuple[Any, ...], Any] = {
            (derive,): value for derive, value in facts.items()
        }
        self.manifests = tuple(manifests)
        self.kind = kind
        self.span_ns = span_ns
        """First and last instant of the recording, in job time."""
        self.damaged_records = damaged_records
        """How many records were damaged or incomplete."""
        self.clock_residual_ns = clock_residual_ns
        """The largest error of the conversion of process clocks to job time."""
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the trace without its facts, which the other process computes when it needs
        them.
        """
        options = {
            "kind": self.kind,
            "span_ns": self.span_ns,
            "damaged_records": self.damaged_records,
            "clock_residual_ns": self.clock_residual_ns,
            "path": self.path,
        }
        return _unpickled, (dict(self._tables), dict(self._absent), self.manifests, options)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the first host, which for most jobs is the only one."""
        return self.manifests[0]

    @property
    def is_profiler_trace(self) -> bool:
        """Whether torch.profiler or Nsight Systems recorded it, and not perfscope."""
        return self.kind is TraceKind.PROFILER

    @property
    def has_profiled_work(self) -> bool:
        """Whether operators or device work were profiled throughout the recording, so that the time
        budget is computed from them.

        False for a recording of perfscope, whose windows of torch's profiler cover a few steps, and
        for a profiler trace that has nothing but ranges. Both are diagnosed from their ranges.
        """
        return self.is_profiler_trace and any(self.has(name) for name in PROFILED_WORK)

    def has(self, name: str) -> bool:
        """Return whether the trace has a table."""
        return name in self._tables

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table, which the caller must not change, or None when it is absent.

        Raises KeyError for a name that is not in the schema.
        """
        if name not in TABLES:
            raise KeyError(name)
        return self._tables.get(name)

    def why_absent(self, name: str) -> str:
        """Return the reason why a table is absent."""
        return self._absent.get(name, "not recorded")

    def fact(
        self,
        derive: "Callable[Concatenate[Trace, Keys], Fact]",
        *keys: Keys.args,
        **named: Keys.kwargs,
    ) -> Fact:
        """Return `derive(self, *keys, **named)`, computed once per trace, function and keys."""
        asked = (derive, *keys, *named.items())
        if asked not in self._facts:
            self._facts[asked] = derive(self, *keys, **named)
        value: Fact = self._facts[asked]
        return value


def _unpickled(tables: Any, absent: Any, manifests: Any, options: dict[str, Any]) -> Trace:
    return Trace(tables, absent, manifests, **options)


def make_empty_nvtx_columns(count: int) -> dict[str, Any]:
    """Return the columns of `ranges` that only NVTX fills, for `count` rows of other ranges."""
    no_labels = pd.Categorical.from_codes(
        np.full(count, -1, np.int8), categories=pd.Index([], dtype=str)
    )
    return {"label": no_labels, "payload": np.full(count, np.nan)}


def make_table(name: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table of the schema with these columns, in the declared order and with the declared
    types. Raises KeyError when a column is missing.
    """
    schema = TABLES[name]
    if any(isinstance(columns[column.name], pd.Series) for column in schema):
        frame = pd.DataFrame({column.name: columns[column.name] for column in schema}, copy=False)
        return frame.astype({column.name: column.dtype for column in schema})
    typed = {column.name: typed_column(columns[column.name], column.dtype) for column in schema}
    frame = pd.DataFrame(typed, copy=False)
    frame.columns = index_of_columns(name)
    return frame


@cache
def index_of_columns(name: str) -> "pd.Index[Any]":
    """Return the index of the columns of a table.

    All frames of a table share it, and so its hash table, which takes longer to make than a small
    frame. As objects names are found faster than as text of pyarrow.
    """
    return pd.Index([column.name for column in TABLES[name]], dtype=object)


def coded_names(values: Any) -> Any:
    """Return names as a column; None is a missing name. A list of a few is coded without pandas."""
    is_short = isinstance(values, list) and len(values) <= FEW_NAMES
    if not is_short or not all(isinstance(name, str) for name in values):
        return pd.Categorical(values)
    names: list[str] = sorted(set(values))
    codes = np.array([names.index(name) for name in values], np.int8)
    return pd.Categorical.from_codes(codes, dtype=dtype_of_names(names))


def dtype_of_names(names: Sequence[str]) -> "pd.CategoricalDtype[Any]":
    """Return the type of a column with these different names.

    Ranks have mostly the same names, and a type is expensive to make.
    """
    few = len(names) <= FEW_NAMES
    return dtype_of_few_names(tuple(names)) if few else pd.CategoricalDtype(pd.Index(names))


@lru_cache(maxsize=1024)
def dtype_of_few_names(names: tuple[str, ...]) -> "pd.CategoricalDtype[Any]":
    """Return `dtype_of_names`."""
    return pd.CategoricalDtype(pd.Index(names))


def typed_column(values: Any, dtype: str) -> Any:
    """Return values as a column of this type; arrays without pandas, which takes longer to convert
    the columns of a small table than to read its file.
    """
    if dtype == "category":
        return values if isinstance(values, pd.Categorical) else coded_names(values)
    if isinstance(values, np.ndarray):
        # A view of another table is read-only; a table of its own can be changed.
        return values.astype(dtype, copy=not values.flags.writeable)
    converted: Any = pd.Series(values)
    return converted.astype(dtype).to_numpy(copy=True)
