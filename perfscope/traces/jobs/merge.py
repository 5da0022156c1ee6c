"""Merges the tables of a job's parts: process codes become unique, row numbers and times are
shifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.clock_offset import Shift
from perfscope.traces.intervals import Ints
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from perfscope.traces.trace import index_of_columns


@dataclass
class Piece:
    """The tables of one part, which loses each table as it is merged, and the shift from its times
    to the job's.
    """

    tables: dict[str, pd.DataFrame]
    shift: Shift
    first_process: int = 0
    """Added to its process codes."""


def merged_tables(pieces: Sequence[Piece]) -> dict[str, pd.DataFrame]:
    """Return every table that a piece has, with the rows of all; the pieces are empty afterwards.

    Only one table at a time is in memory twice.
    """
    first_rows = {name: first_rows_of(pieces, name) for name in TABLES}
    number_processes(pieces)
    merged = {}
    for name in TABLES:
        with_table = [at for at, piece in enumerate(pieces) if name in piece.tables]
        if not with_table:
            continue
        columns: dict[str, NDArray[np.generic] | pd.Categorical[str]] = {}
        for column in TABLES[name]:
            key = (name, column.name)
            if column.dtype == "category":
                parts = [pieces[at].tables[name][column.name] for at in with_table]
                columns[column.name] = merged_names(list(map(names_of, parts)))
            else:
                columns[column.name] = np.concatenate(
                    [shifted_column(pieces[at], at, key, first_rows) for at in with_table]
                )
        for at in with_table:
            del pieces[at].tables[name]
        merged[name] = pd.DataFrame(columns, copy=False)
        merged[name].columns = index_of_columns(name)
    return merged


def first_rows_of(pieces: Sequence[Piece], name: str) -> list[int]:
    """Return for each piece the row of the merged table at which its rows begin."""
    counts = [len(piece.tables[name]) if name in piece.tables else 0 for piece in pieces]
    return [0, *np.cumsum(counts).tolist()]


def number_processes(pieces: Sequence[Piece]) -> None:
    """Let the process codes of each piece begin after the highest of the piece before."""
    first = 0
    for piece in pieces:
        piece.first_process = first
        highest = -1
        for table in piece.tables.values():
            if "process" in table and len(table):
                highest = max(highest, int(table["process"].max()))
        first += highest + 1


def shifted_column(
    piece: Piece, number: int, key: tuple[str, str], first_rows: dict[str, list[int]]
) -> NDArray[np.generic]:
    """Return a column of numbers of the piece with this number, with the values that it has in the
    merged table. `key` is (table, column).
    """
    table, column = key
    values = piece.tables[table][column].to_numpy()
    if key in ROW_NUMBERS:
        return add_to_codes(values, first_rows[ROW_NUMBERS[key]][number])
    if column == "process" or key == ("processes", "parent"):
        codes = add_to_codes(values, piece.first_process)
        return np.where(codes < 0, host_code(number), codes) if table == "counters" else codes
    if column == "ts":
        return piece.shift.moved(values)
    if column == "dur":
        return shifted_durations(piece, table, values)
    return values


def host_code(part: int) -> int:
    """Return the `counters.process` of the host of a part: -1, -2 ... by its number."""
    return -1 - part


def add_to_codes(values: Ints, first: int) -> Ints:
    """Return codes or row numbers that begin at `first`; -1 stays -1."""
    codes: Ints = np.where(values >= 0, values + first, values)
    return codes


def shifted_durations(piece: Piece, table: str, dur: Ints) -> Ints:
    """Return durations on the job's clock.

    Where the clock drifts, ends are shifted as starts are, so that nested intervals stay nested.
    """
    if not piece.shift.drifts:
        return dur
    ts = piece.tables[table]["ts"].to_numpy(np.int64)
    shifted: Ints = piece.shift.moved(ts + dur) - piece.shift.moved(ts)
    return shifted


def names_of(column: "pd.Series[str]") -> "pd.Categorical[str]":
    """Return a column of names as codes and names, with the type that it shares with others."""
    names = column.array
    return names if isinstance(names, pd.Categorical) else pd.Categorical(column)


def merged_names(columns: "Sequence[pd.Categorical[str]]") -> "pd.Categorical[str]":
    """Return columns of names as one; NA stays NA."""
    codes_by_name: dict[str, int] = {}
    codes_by_dtype: dict[int, NDArray[np.int32]] = {}
    merged_codes = []
    for column in columns:
        key = id(column.dtype)  # many ranks share one
        if key not in codes_by_dtype:
            new_codes = [
                codes_by_name.setdefault(str(name), len(codes_by_name))
                for name in column.categories.tolist()
            ]
            codes_by_dtype[key] = np.array([*new_codes, -1], np.int32)
        merged_codes.append(codes_by_dtype[key][column.codes])
    names = pd.Index(list(codes_by_name), dtype=object)
    return pd.Categorical.from_codes(np.concatenate(merged_codes), categories=names)
