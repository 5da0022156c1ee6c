"""The SQLite file that `nsys export` writes: opened so that nothing in it can act, asked only for
the columns it has.

Versions differ in tables and columns; what is missing reads as -1 or no name. Views and virtual
tables are not read: a real export has none, and a hostile one could compute for ever in them. Pages
may also be named as their own children, which makes billions of rows of a few kilobytes: steps,
rows and text are bounded by the size of the file.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.errors import UnreadableRun
from perfscope.traces.intervals import Ints

Answer = TypeVar("Answer")
ROWS_AT_ONCE = 1 << 16
TEXTS_AT_ONCE = 1 << 12
LONGEST_NAME = 1 << 16
DAY_NS = 86_400_000_000_000
NO_TIME = -(2**63) + 1
# Twice this still fits into 64 bits, so that differences of times do.
LATEST_NS = 4_000_000_000_000_000_000


STEPS_PER_BYTE, STEPS_AT_LEAST, STEPS_AT_ONCE = 50, 100_000_000, 100_000
"""Of SQLite's machine: rows of an export take about two for each byte."""
BYTES_A_ROW = 6
TEXT_PER_BYTE, TEXT_AT_LEAST = 4, 64 << 20
LONGEST_ROW = 16 << 20


@contextmanager
def opened(path: Path) -> Iterator["Database"]:
    """The database, closed at the end. Raises UnreadableRun, also for what goes wrong while it is
    read.
    """
    if not path.is_file():
        raise UnreadableRun(
            f"{path} does not exist" if not path.exists() else f"{path} is not a file"
        )
    # Nobody writes to an export, so no lock is needed and a read-only folder will do; unless a
    # journal lies beside it.
    log = path.with_name(path.name + "-wal")
    fixed = "" if log.exists() else "&immutable=1"
    try:
        with closing(
            sqlite3.connect(f"file:{quote(os.fsencode(path.absolute()))}?mode=ro{fixed}", uri=True)
        ) as connection:
            yield Database(
                connection, path.stat().st_size + (log.stat().st_size if log.exists() else 0)
            )
    except (
        sqlite3.Error,
        UnicodeDecodeError,
        MemoryError,
    ) as error:  # the latter: a message of SQLite that quotes a damaged name
        why = (
            "its schema is no text"
            if isinstance(error, UnicodeDecodeError)
            else " ".join(str(error).split())[:200]
        )
        raise UnreadableRun(
            f"{path}: is a damaged SQLite file ({why}); export it again from the .nsys-rep"
        ) from error


@dataclass
class Rows:
    """The rows of one table in the order of their start. `left_out` counts those whose times are
    impossible.
    """

    columns: dict[str, Ints]
    names: dict[str, "Named"]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.columns["start"])

    def numbers(self, name: str) -> Ints:
        return self.columns[name]

    def where(self, mask: Any) -> "Rows":
        """The rows of a bool mask or an index."""
        return Rows(
            {k: v[mask] for k, v in self.columns.items()},
            {k: v.where(mask) for k, v in self.names.items()},
        )


@dataclass
class Named:
    """A column of names: codes into `texts`, all different; -1 for none."""

    codes: NDArray[np.int32]
    texts: list[str]

    def where(self, mask: Any) -> "Named":
        return Named(self.codes[mask], self.texts)

    def category(self) -> "pd.Categorical[str]":
        whole = pd.Categorical.from_codes(self.codes, categories=pd.Index(self.texts, dtype=object))
        return whole.remove_unused_categories()

    def either(self, other: "Named") -> "Named":
        """These names, and where there is none the other's."""
        codes = np.where(
            self.codes >= 0,
            self.codes,
            np.where(other.codes >= 0, other.codes + len(self.texts), -1),
        )
        return named(codes, [*self.texts, *other.texts])


def named(codes: Any, texts: Sequence[str | None]) -> Named:
    """Names from codes into texts, of which some may be the same or None."""
    places: dict[str, int] = {}
    place = [-1 if text is None else places.setdefault(text, len(places)) for text in texts]
    return Named(np.array([*place, -1], np.int32)[codes], list(places))


class Database:
    """Reads tables of an export by column. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, size_bytes: int) -> None:
        self.connection, self.size_bytes = connection, size_bytes
        self.steps_left = STEPS_AT_LEAST + STEPS_PER_BYTE * size_bytes
        self.text_left = TEXT_AT_LEAST + TEXT_PER_BYTE * size_bytes
        connection.set_progress_handler(self.has_ended, STEPS_AT_ONCE)
        if hasattr(connection, "setlimit"):  # from Python 3.11 on
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_ROW)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        ordinary = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
        self.tables = {
            str(name): self.columns_of(str(name))
            for (name,) in connection.execute(ordinary).fetchall()
        }
        self.strings: dict[int, str] | None = None

    def has_ended(self) -> bool:
        """Count steps; true when a file of this size needs no more, which ends the query."""
        self.steps_left -= STEPS_AT_ONCE
        return self.steps_left < 0

    def batches(self, sql: str, *, text: bool) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query, few at once where they hold text.

        Raises sqlite3.DatabaseError where they are more than the file can hold.
        """
        cursor, count = self.connection.execute(sql), 0
        while batch := cursor.fetchmany(TEXTS_AT_ONCE if text else ROWS_AT_ONCE):
            count += len(batch)
            if text:
                self.text_left -= sum(
                    len(cell) for row in batch for cell in row if isinstance(cell, str)
                )
            if count > self.size_bytes // BYTES_A_ROW + ROWS_AT_ONCE or self.text_left < 0:
                raise sqlite3.DatabaseError("it holds more rows or text than its size allows")
            yield batch

    def columns_of(self, table: str) -> frozenset[str]:
        info = self.connection.execute(f"PRAGMA table_info({quoted(table)})")
        return frozenset(str(row[1]) for row in info)

    def has(self, table: str, *columns: str) -> bool:
        return table in self.tables and self.tables[table].issuperset(columns)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Whole small tables: every row with these columns, None for those the table has not."""
        if table not in self.tables:
            return []
        there = [bounded(name) if name in self.tables[table] else "NULL" for name in columns]
        sql = f"SELECT {', '.join(there)} FROM {quoted(table)}"
        return self.in_any_encoding(
            lambda: [row for batch in self.batches(sql, text=True) for row in batch]
        )

    def settings(self, table: str, name: str, value: str = "*") -> list[tuple[str, str]]:
        """Return (name, value) of the rows of a table of settings in which both are texts of these
        forms (GLOB).

        Such tables hold the whole environment that was recorded, access tokens included: only what
        is named is read.
        """
        if not self.has(table, "name", "value"):
            return []
        sql = (
            f"SELECT name, value FROM {quoted(table)} WHERE typeof(name) = 'text' AND typeof(value)"
            " = 'text'"
        )
        sql += " AND name GLOB ? AND value GLOB ?"
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
        """The events of a table: `start` and `dur`, whole numbers (-1 for what is none), names
        (text, or ids of names).

        With `open_ends` an event without an end stays, its `dur` is -1; else it counts as left out.
        """
        if not self.has(table, "start", end):
            none = np.empty(0, np.int64)
            return Rows(
                dict.fromkeys(("start", "dur", *numbers), none),
                {name: named(none, []) for name in texts},
            )
        wanted = ("start", end, *numbers, *texts)
        whole = {
            name: NO_TIME if at < 2 else -1
            for at, name in enumerate(wanted)
            if self.holds(table, name, "integer")
        }
        written = [name for name in texts if self.holds(table, name, "text")]
        asked = [
            f"CASE typeof({quoted(n)}) WHEN 'integer' THEN {quoted(n)} ELSE {other} END"
            for n, other in whole.items()
        ]
        asked += [
            f"CASE typeof({quoted(n)}) WHEN 'text' THEN substr({quoted(n)}, 1, {LONGEST_NAME}) END"
            for n in written
        ]
        sql = f"SELECT {', '.join(asked or ['1'])} FROM {quoted(table)}"
        arrays, spelled, count = self.in_any_encoding(
            lambda: self.fetched(sql, len(whole), len(written))
        )
        found = dict(zip(whole, arrays, strict=True))
        times = [found.get(name, np.full(count, NO_TIME)) for name in ("start", end)]
        missing = np.full(count, -1, np.int64)
        names = {name: self.ids_to_names(found.get(name, missing)) for name in texts}
        names |= {name: one.either(names[name]) for name, one in zip(written, spelled, strict=True)}
        rows = Rows({name: found.get(name, missing) for name in numbers}, names)
        return plausible(times[0], times[1], rows, open_ends)

    def holds(self, table: str, name: str, kind: str) -> bool:
        """Is there a cell of this type in a column? Whole columns of nothing are common and need
        not be fetched.
        """
        if name not in self.tables[table]:
            return False
        asked = f"SELECT 1 FROM {quoted(table)} WHERE typeof({quoted(name)}) = '{kind}' LIMIT 1"
        return self.connection.execute(asked).fetchone() is not None

    def in_any_encoding(self, ask: Callable[[], Answer]) -> Answer:
        """The answer; where a text in it is no UTF-8, with its bad bytes replaced."""
        try:
            return ask()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            self.connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            return ask()

    def fetched(self, sql: str, numbers: int, texts: int) -> tuple[list[Ints], list[Named], int]:
        """The columns of a query: numbers first, then texts; and how many rows it has."""
        parts: list[list[Ints]] = [[np.empty(0, np.int64)] for _ in range(numbers + texts)]
        places: list[dict[str | None, int]] = [{} for _ in range(texts)]
        count = 0
        for batch in self.batches(sql, text=texts > 0):
            columns = list(zip(*batch, strict=True))
            count += len(batch)
            for at in range(numbers):
                parts[at].append(np.array(columns[at], np.int64))
            for at, place in enumerate(places, numbers):
                parts[at].append(
                    np.array([place.setdefault(word, len(place)) for word in columns[at]], np.int64)
                )
        whole = [np.concatenate(part) for part in parts]
        return (
            whole[:numbers],
            [named(codes, list(p)) for codes, p in zip(whole[numbers:], places, strict=True)],
            count,
        )

    def ids_to_names(self, ids: Ints) -> Named:
        """Ids of `StringIds` to names."""
        different, codes = np.unique(ids, return_inverse=True)
        strings = self.all_strings()
        return named(codes.ravel(), [strings.get(one) for one in different.tolist()])

    def all_strings(self) -> dict[int, str]:
        if self.strings is None:
            rows = self.rows("StringIds", "id", "value")
            self.strings = {
                key: text[:LONGEST_NAME]
                for key, text in rows
                if isinstance(key, int) and isinstance(text, str)
            }
        return self.strings

    def labels(
        self, table: str, otherwise: dict[int, str], column: str = "label"
    ) -> dict[int, str]:
        """What the numbers of an enumeration mean: from its table where the export has one."""
        rows = self.rows(table, "id", column)
        return {
            key: text for key, text in rows if isinstance(key, int) and isinstance(text, str)
        } or otherwise


def plausible(start: Ints, end: Ints, rows: Rows, open_ends: bool) -> Rows:
    """The rows with possible times, in the order of their start, with the columns `start` and
    `dur`.
    """
    never = end == NO_TIME
    real = (np.minimum(start, end) > -LATEST_NS) & (np.maximum(start, end) < LATEST_NS)
    dur = np.where(real, end - start, -1)
    good = real & (dur >= 0) & (dur < DAY_NS)
    if open_ends:
        good |= never & (start > -LATEST_NS) & (start < LATEST_NS)
    kept = np.flatnonzero(good)
    kept = kept[np.argsort(start[kept], kind="stable")]
    rows.columns |= {"start": start, "dur": dur}
    found = rows.where(kept)
    found.left_out = int((~good).sum())
    return found


def bounded(name: str) -> str:
    """Return the expression for a cell of a small table: a number, or at most LONGEST_NAME
    characters of a text.
    """
    cell = quoted(name)
    text = f"WHEN 'text' THEN substr({cell}, 1, {LONGEST_NAME})"
    return f"CASE typeof({cell}) {text} WHEN 'blob' THEN NULL ELSE {cell} END"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
