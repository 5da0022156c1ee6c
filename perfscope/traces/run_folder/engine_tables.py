"""Builds the tables of inference engines: engine_servers, engine_settings, engine_metrics.

They come from streams of the host (`@host`) in JSON lines. A row of `engine.metrics` holds the
values of one reading of a page, by the numbers of the series in `engine.series`.
"""

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.traces.clocks import Clock
from perfscope.traces.run_folder.cell_types import (
    checks_of,
    has_valid_cells,
    is_number,
    is_time,
    is_whole,
)
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.packed_numbers import int64_array
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import make_table

AGENT: Final = -1
SERIES_TEXTS: Final = ("name", "part", "labels")


@dataclass
class MetricColumns:
    """The columns of `engine_metrics` while they are collected; a series is a number."""

    server: "array[int]" = field(default_factory=lambda: array("q"))
    ts: "array[int]" = field(default_factory=lambda: array("q"))
    series: "array[int]" = field(default_factory=lambda: array("q"))
    value: "array[float]" = field(default_factory=lambda: array("d"))


@dataclass(frozen=True)
class EngineTables:
    """Builds tables from the streams of the readings of metrics pages."""

    run: StoredRun | GrowingRun
    clock: Clock

    def builders(self) -> dict[str, Callable[[], pd.DataFrame | None]]:
        """Return for each table the function that builds it, which returns None without rows."""
        return {
            "engine_servers": lambda: self.from_rows("engine_servers", "engine.servers"),
            "engine_settings": lambda: self.from_rows("engine_settings", "engine.settings"),
            "engine_metrics": self.engine_metrics,
        }

    def from_rows(self, table: str, stream: str) -> pd.DataFrame | None:
        """Return a table from rows with its columns; invalid rows are left out."""
        checks = checks_of([column for column in TABLES[table] if column.name != "host"])
        rows = [row for _, row in self.run.rows(stream) if has_valid_cells(row, checks)]
        if not rows:
            return None
        columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name, _ in checks}
        return make_table(table, {**columns, "host": [self.run.manifest.host] * len(rows)})

    def engine_metrics(self) -> pd.DataFrame | None:
        """Return table `engine_metrics`, with a row for each value of a reading."""
        places, rows = self.series()
        columns = MetricColumns()
        for server, ts, number, value in self.values():
            place = places.get((server, number))
            if place is not None:
                columns.server.append(server)
                columns.ts.append(ts)
                columns.series.append(place)
                columns.value.append(value)
        if not columns.ts:
            return None
        at = int64_array(columns.series)
        texts = {name: choose_texts([row[name] for row in rows], at) for name in SERIES_TEXTS}
        bounds = np.array([row["le"] for row in rows], np.float64)
        frame = make_table(
            "engine_metrics",
            {
                "host": [self.run.manifest.host] * len(at),
                "server": int64_array(columns.server),
                "ts": self.clock.job_ns(AGENT, int64_array(columns.ts)),
                **texts,
                "le": bounds[at],
                "value": np.frombuffer(columns.value, np.float64),
            },
        )
        return frame.sort_values("ts", kind="stable").reset_index(drop=True)

    def series(self) -> tuple[dict[tuple[int, int], int], list[dict[str, Any]]]:
        """Return the place of each series, by server and number, and the series in that order."""
        places: dict[tuple[int, int], int] = {}
        rows: list[dict[str, Any]] = []
        for _, row in self.run.rows("engine.series"):
            server, number = row.get("server"), row.get("series")
            has_texts = all(isinstance(row.get(name), str) for name in SERIES_TEXTS)
            if is_whole(server) and is_whole(number) and has_texts:
                bound: Any = row.get("le")
                is_bucket = row["part"] == "bucket"
                unbounded = math.inf if is_bucket else math.nan
                places[server, number] = len(rows)
                rows.append(row | {"le": float(bound) if is_number(bound) else unbounded})
        return places, rows

    def values(self) -> Iterator[tuple[int, int, int, float]]:
        """Yield server, time, number of the series and value of every number that was read."""
        for _, row in self.run.rows("engine.metrics"):
            server, ts = row.get("server"), row.get("ts")
            if not (is_whole(server) and is_time(ts)):
                continue
            for name, value in row.items():
                if name.isdecimal() and len(name) < 8 and is_number(value):
                    yield server, ts, int(name), value


def choose_texts(texts: list[str], at: "np.typing.NDArray[np.int64]") -> "pd.Categorical[str]":
    """Return the texts at these positions as a column of a table."""
    place = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    codes = np.array([place[text] for text in texts], np.int64)
    return pd.Categorical.from_codes(codes[at], categories=pd.Index(list(place), dtype=object))
