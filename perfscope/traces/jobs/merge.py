"""The tables of a job's parts put one behind the other: codes made unique, row numbers shifted,
times on one clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.clock_shift import Shift
from perfscope.traces.intervals import Ints
from perfscope.traces.schema import ROW_NUMBERS, TABLES, Column


@dataclass
class Piece:
    """The tables of one part, which lose each table as it is merged, and what brings its times to
    the job's.
    """

    tables: dict[str, pd.DataFrame]
    shift: Shift
    first_process: int = 0


def merged_tables(pieces: Sequence[Piece]) -> dict[str, pd.DataFrame]:
    """Every table that a piece has, with the rows of all; the pieces are empty afterwards.

    One table at a time is there twice: at no point two copies of everything.
    """
    rows = {name: offsets(pieces, name) for name in TABLES}
    number_processes(pieces)
    merged = {}
    for name in TABLES:
        having = [at for at, piece in enumerate(pieces) if name in piece.tables]
        if not having:
            continue
        columns = {one.name: joined(pieces, having, name, one, rows) for one in TABLES[name]}
        for at in having:
            del pieces[at].tables[name]
        merged[name] = pd.DataFrame(columns, copy=False)
    return merged


def offsets(pieces: Sequence[Piece], name: str) -> list[int]:
    """The row at which each piece's rows of a table begin."""
    counts = [len(piece.tables[name]) if name in piece.tables else 0 for piece in pieces]
    return [0, *np.cumsum(counts).tolist()]


def number_processes(pieces: Sequence[Piece]) -> None:
    """Each piece's codes begin behind the highest of the one before."""
    first = 0
    for piece in pieces:
        piece.first_process = first
        highest = max(
            (int(t["process"].max()) for t in piece.tables.values() if "process" in t and len(t)),
            default=-1,
        )
        first += highest + 1


def joined(
    pieces: Sequence[Piece],
    having: list[int],
    name: str,
    column: Column,
    rows: dict[str, list[int]],
) -> "NDArray[np.generic] | pd.Categorical[str]":
    """One column of all pieces that have the table."""
    if column.dtype == "category":
        return categories([pieces[at].tables[name][column.name] for at in having])
    refers = ROW_NUMBERS.get((name, column.name))
    parts = []
    for at in having:
        piece = pieces[at]
        values = piece.tables[name][column.name].to_numpy()
        if refers is not None:
            values = behind(values, rows[refers][at])
        elif column.name == "process" or (name, column.name) == ("processes", "parent"):
            values = behind(values, piece.first_process)
            if name == "counters":
                values = np.where(values < 0, host_code(at), values)
        elif column.name == "ts":
            values = piece.shift.moved(values)
        elif column.name == "dur":
            values = stretched(piece, name, values)
        parts.append(values)
    return np.concatenate(parts)


def host_code(part: int) -> int:
    """What stands in `counters.process` for the host of a part, by its number: -1, -2 ..."""
    return -1 - part


def behind(values: Ints, first: int) -> Ints:
    """Numbers that begin at `first`; -1 stays -1."""
    moved: Ints = np.where(values >= 0, values + first, values)
    return moved


def stretched(piece: Piece, name: str, dur: Ints) -> Ints:
    """Durations on the other clock: where it drifts ends are moved as starts are, so that what
    nests still nests.
    """
    if not piece.shift.drifts:
        return dur
    ts = piece.tables[name]["ts"].to_numpy(np.int64)
    longer: Ints = piece.shift.moved(ts + dur) - piece.shift.moved(ts)
    return longer


def categories(columns: "Sequence[pd.Series[str]]") -> "pd.Categorical[str]":
    """Coded names with the values of all; NA stays NA."""
    places: dict[str, int] = {}
    codes = []
    for column in columns:
        place = [places.setdefault(str(value), len(places)) for value in column.cat.categories]
        codes.append(np.array([*place, -1], np.int32)[column.cat.codes.to_numpy()])
    return pd.Categorical.from_codes(
        np.concatenate(codes).tolist(), categories=pd.Index(list(places), dtype=object)
    )
