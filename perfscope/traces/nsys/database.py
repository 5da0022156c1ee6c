"""The SQLite file that `nsys export` writes, opened so that nothing in it can act or run without
end.

Tables and columns differ between versions; what is missing reads as -1 or as no name. Views and
virtual tables are not read: a real export has none, and a hostile one could make them compute
forever. A hostile file can also name pages as their own children, which turns a few kilobytes into
billions of rows, or give all rows the same long value. So steps, rows, text and CPU time are
bounded by the size of the file.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.errors import UnreadableRun
from perfscope.traces.intervals import Ints

Answer = TypeVar("Answer")
ROWS_AT_ONCE: Final = 1 << 16
TEXT_ROWS_AT_ONCE: Final = 1 << 8
LONGEST_NAME: Final = 1 << 16
DAY_NS: Final = 86_400_000_000_000
NO_TIME: Final = -(2**63) + 1
LATEST_NS: Final = 4_000_000_000_000_000_000
"""Twice this fits into 64 bits, so that differences of times do."""

STEPS_PER_BYTE: Final = 50
"""Steps of SQLite's virtual machine. The rows of a real export take about two per byte."""
FEWEST_STEPS: Final = 100_000_000
STEPS_PER_CHECK: Final = 100_000
BYTES_PER_ROW: Final = 6
TEXT_PER_BYTE: Final = 4
LEAST_TEXT: Final = 64 << 20
LONGEST_ROW: Final = 16 << 20
LEAST_CPU_S: Final = 5.0
CPU_S_PER_BYTE: Final = 1e-7
"""Of a core, to fetch texts. The texts of a real export take about a hundredth of it."""


@contextmanager
def open_database(path: Path) -> Iterator["Database"]:
    """Yield the database, and close it at the end.

    Raises UnreadableRun, also for errors that occur while it is read.
    """
    if not path.is_file():
        raise UnreadableRun(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    size_bytes = path.stat().st_size
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
    log = path.with_name(path.name + "-wal")
    if log.exists():
        size_bytes += log.stat().st_size
    else:
        address += "&immutable=1"  # nobody writes to it, so it needs no lock and no writable folder
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            yield Database(connection, size_bytes)
    except UnicodeDecodeError as error:  # a message of SQLite that quotes a damaged name
        raise damaged_export(path, "its schema is not text") from error
    except (sqlite3.Error, MemoryError) as error:
        raise damaged_export(path, " ".join(str(error).split())[:200]) from error


def damaged_export(path: Path, reason: str) -> UnreadableRun:
    """Return the error for a damaged file."""
    return UnreadableRun(
        f"{path} is a damaged SQLite file ({reason}). Export it again from the .nsys-rep."
    )


@dataclass
class NameColumn:
    """A column of names: codes into `texts`, which are all different; -1 for no name."""

    codes: NDArray[np.int32]
    texts: list[str]

    def where(self, mask: Any) -> "NameColumn":
        """Return the rows that a bool mask or an index selects."""
        return NameColumn(self.codes[mask], self.texts)

    def category(self) -> "pd.Categorical[str]":
        """Return it as a column of a table."""
        whole = pd.Categorical.from_codes(self.codes, categories=pd.Index(self.texts, dtype=object))
        return whole.remove_unused_categories()

    def with_fallback(self, other: "NameColumn") -> "NameColumn":
        """Return these names, and the names of `other` in rows without one."""
        other_codes = np.where(other.codes >= 0, other.codes + len(self.texts), -1)
        codes = np.where(self.codes >= 0, self.codes, other_codes)
        return name_column_of(codes, [*self.texts, *other.texts])


def name_column_of(codes: Any, texts: Sequence[str | None]) -> NameColumn:
    """Return names from codes into texts, some of which may be equal or None."""
    code_of_text: dict[str, int] = {}
    new_codes = [
        -1 if text is None else code_of_text.setdefault(text, len(code_of_text)) for text in texts
    ]
    return NameColumn(np.array([*new_codes, -1], np.int32)[codes], list(code_of_text))


@dataclass
class Rows:
    """Rows of one table in the order of their start."""

    columns: dict[str, Ints]
    names: dict[str, NameColumn]
    left_out: int = 0
    """How many rows were left out because of impossible times."""

    def __len__(self) -> int:
        return len(self.columns["start"])

    def numbers(self, name: str) -> Ints:
        """Return a column of int64."""
        return self.columns[name]

    def where(self, mask: Any) -> "Rows":
        """Return the rows that a bool mask or an index selects."""
        return Rows(
            {name: column[mask] for name, column in self.columns.items()},
            {name: column.where(mask) for name, column in self.names.items()},
        )


class Database:
    """Reads tables of an export by column. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, size_bytes: int) -> None:
        self.connection, self.size_bytes = connection, size_bytes
        self.steps_left = FEWEST_STEPS + STEPS_PER_BYTE * size_bytes
        self.text_left = LEAST_TEXT + TEXT_PER_BYTE * size_bytes
        self.cpu_left_s = LEAST_CPU_S + CPU_S_PER_BYTE * size_bytes
        connection.set_progress_handler(self.is_out_of_steps, STEPS_PER_CHECK)
        if hasattr(connection, "setlimit"):  # from Python 3.11 on
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_ROW)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        ordinary_tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        ).fetchall()
        self.tables = {str(name): self.columns_of(str(name)) for (name,) in ordinary_tables}
        self.strings: dict[int, str] | None = None

    def is_out_of_steps(self) -> bool:
        """Count the steps of a query. Returning true ends it: a file of this size needs fewer."""
        self.steps_left -= STEPS_PER_CHECK
        return self.steps_left < 0

    def batches(self, sql: str, *, has_text: bool) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query, few at once where they contain text.

        Raises sqlite3.DatabaseError for more rows or text than the file can contain.
        """
        cursor, count = self.connection.execute(sql), 0
        most_rows = self.size_bytes // BYTES_PER_ROW + ROWS_AT_ONCE
        before_s = time.thread_time()
        while batch := cursor.fetchmany(TEXT_ROWS_AT_ONCE if has_text else ROWS_AT_ONCE):
            count += len(batch)
            if has_text:
                texts = (cell for row in batch for cell in row if isinstance(cell, str))
                self.text_left -= sum(map(len, texts))
                self.cpu_left_s -= time.thread_time() - before_s
            if count > most_rows or min(self.text_left, self.cpu_left_s) < 0:
                raise sqlite3.DatabaseError("it contains more rows or text than its size allows")
            yield batch
            before_s = time.thread_time()

    def columns_of(self, table: str) -> frozenset[str]:
        """Return the names of the columns of a table."""
        info = self.connection.execute(f"PRAGMA table_info({quoted_name(table)})")
        return frozenset(str(row[1]) for row in info)

    def has(self, table: str, *columns: str) -> bool:
        """Return whether there is a table with these columns."""
        return table in self.tables and self.tables[table].issuperset(columns)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of every row of a small table, None for columns that it lacks."""
        if table not in self.tables:
            return []
        known = self.tables[table]
        cells = [bounded_cell(name) if name in known else "NULL" for name in columns]
        sql = f"SELECT {', '.join(cells)} FROM {quoted_name(table)}"
        return self.in_any_encoding(
            lambda: [row for batch in self.batches(sql, has_text=True) for row in batch]
        )

    def settings(self, table: str, name: str, value: str = "*") -> list[tuple[str, str]]:
        """Return (name, value) of the rows of a settings table that match these patterns (GLOB).

        Such tables contain the whole environment that was recorded, with its access tokens. So only
        the named settings are read.
        """
        if not self.has(table, "name", "value"):
            return []
        sql = (
            f"SELECT name, value FROM {quoted_name(table)}"
            " WHERE typeof(name) = 'text' AND typeof(value) = 'text'"
            " AND name GLOB ? AND value GLOB ?"
        )
        return self.in_any_encoding(lambda: self.connection.execute(sql, (name, value)).fetchall())

    def events(
        self,
        table: str,
        numbers: Sequence[str],
        texts: Sequence[str] = (),
        *,
        end: str = "end",
        open_ends: bool = False,
    ) -> Rows:
        """Return the events of a table with `start` and `dur`, columns of whole numbers (-1 for any
        other value) and columns of names (text, or ids of texts).

        With `open_ends`, an event without an end is kept, with a `dur` of -1. Otherwise it is left
        out.
        """
        if not self.has(table, "start", end):
            return no_rows(numbers, texts)
        whole_columns = [
            name
            for name in ("start", end, *numbers, *texts)
            if self.has_cell_of_type(table, name, "integer")
        ]
        text_columns = [name for name in texts if self.has_cell_of_type(table, name, "text")]
        time_columns = ("start", end)
        cells = [
            integer_cell(name, NO_TIME if name in time_columns else -1) for name in whole_columns
        ]
        cells += [text_cell(name) for name in text_columns]
        sql = f"SELECT {', '.join(cells or ['1'])} FROM {quoted_name(table)}"
        arrays, names_in_cells, count = self.in_any_encoding(
            lambda: self.fetch_columns(sql, len(whole_columns), len(text_columns))
        )
        columns = dict(zip(whole_columns, arrays, strict=True))
        missing = np.full(count, -1, np.int64)
        names = {name: self.ids_to_names(columns.get(name, missing)) for name in texts}
        for name, in_cells in zip(text_columns, names_in_cells, strict=True):
            names[name] = in_cells.with_fallback(names[name])
        starts, ends = (columns.get(name, np.full(count, NO_TIME)) for name in time_columns)
        rows = Rows({name: columns.get(name, missing) for name in numbers}, names)
        return with_possible_times(rows, starts, ends, open_ends=open_ends)

    def has_cell_of_type(self, table: str, name: str, type_name: str) -> bool:
        """Return whether a column has a value of a type. Empty columns are common, and need not be
        fetched.
        """
        if name not in self.tables[table]:
            return False
        column = quoted_name(name)
        sql = f"SELECT 1 FROM {quoted_name(table)} WHERE typeof({column}) = '{type_name}' LIMIT 1"
        return self.connection.execute(sql).fetchone() is not None

    def in_any_encoding(self, query: Callable[[], Answer]) -> Answer:
        """Return the result of a query; bytes in its texts that are not UTF-8 are replaced."""
        try:
            return query()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            self.connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            return query()

    def fetch_columns(
        self, sql: str, number_count: int, text_count: int
    ) -> tuple[list[Ints], list[NameColumn], int]:
        """Return the columns of a query (first numbers, then texts), and how many rows it has."""
        no_values = np.empty(0, np.int64)
        parts: list[list[Ints]] = [[no_values] for _ in range(number_count + text_count)]
        code_of_text: list[dict[str | None, int]] = [{} for _ in range(text_count)]
        count = 0
        for batch in self.batches(sql, has_text=text_count > 0):
            columns = list(zip(*batch, strict=True))
            count += len(batch)
            for at in range(number_count):
                parts[at].append(np.array(columns[at], np.int64))
            for at, known in enumerate(code_of_text, number_count):
                codes = [known.setdefault(text, len(known)) for text in columns[at]]
                parts[at].append(np.array(codes, np.int64))
        arrays = [np.concatenate(part) for part in parts]
        names = [
            name_column_of(codes, list(known))
            for codes, known in zip(arrays[number_count:], code_of_text, strict=True)
        ]
        return arrays[:number_count], names, count

    def ids_to_names(self, ids: Ints) -> NameColumn:
        """Return the texts of ids in table `StringIds`."""
        different, codes = np.unique(ids, return_inverse=True)
        strings = self.all_strings()
        return name_column_of(codes.ravel(), [strings.get(number) for number in different.tolist()])

    def all_strings(self) -> dict[int, str]:
        """Return table `StringIds`."""
        if self.strings is None:
            self.strings = {
                number: text[:LONGEST_NAME]
                for number, text in self.rows("StringIds", "id", "value")
                if isinstance(number, int) and isinstance(text, str)
            }
        return self.strings

    def labels(self, table: str, default: dict[int, str], column: str = "label") -> dict[int, str]:
        """Return what the numbers of an enumeration mean: from its table, else `default`."""
        labels = {
            number: text
            for number, text in self.rows(table, "id", column)
            if isinstance(number, int) and isinstance(text, str)
        }
        return labels or default


def no_rows(numbers: Sequence[str], texts: Sequence[str]) -> Rows:
    """Return no events with these columns."""
    empty = np.empty(0, np.int64)
    columns = dict.fromkeys(("start", "dur", *numbers), empty)
    return Rows(columns, {name: name_column_of(empty, []) for name in texts})


def with_possible_times(rows: Rows, start: Ints, end: Ints, *, open_ends: bool) -> Rows:
    """Return the rows with possible times, in the order of their start, with `start` and `dur`."""
    has_times = (np.minimum(start, end) > -LATEST_NS) & (np.maximum(start, end) < LATEST_NS)
    dur = np.where(has_times, end - start, -1)
    is_possible = has_times & (dur >= 0) & (dur < DAY_NS)
    if open_ends:
        is_possible |= (end == NO_TIME) & (start > -LATEST_NS) & (start < LATEST_NS)
    kept = np.flatnonzero(is_possible)
    in_order = kept[np.argsort(start[kept], kind="stable")]
    rows.columns |= {"start": start, "dur": dur}
    possible = rows.where(in_order)
    possible.left_out = int((~is_possible).sum())
    return possible


def integer_cell(name: str, default: int) -> str:
    """Return the SQL expression for a whole number, `default` for any other value."""
    cell = quoted_name(name)
    return f"CASE typeof({cell}) WHEN 'integer' THEN {cell} ELSE {default} END"


def text_cell(name: str) -> str:
    """Return the SQL expression for a text of at most LONGEST_NAME characters, NULL for any other
    value.
    """
    cell = quoted_name(name)
    return f"CASE typeof({cell}) WHEN 'text' THEN substr({cell}, 1, {LONGEST_NAME}) END"


def bounded_cell(name: str) -> str:
    """Return the SQL expression for a number, or a text of at most LONGEST_NAME characters."""
    cell = quoted_name(name)
    text = f"WHEN 'text' THEN substr({cell}, 1, {LONGEST_NAME})"
    return f"CASE typeof({cell}) {text} WHEN 'blob' THEN NULL ELSE {cell} END"


def quoted_name(name: str) -> str:
    """Return the name of a table or column in SQL."""
    return '"' + name.replace('"', '""') + '"'
