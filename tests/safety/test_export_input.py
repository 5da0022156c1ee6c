"""Hostile exports of Nsight Systems: pages that are their own children, texts longer than the file,
odd names.
"""

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from perfscope.traces.nsys import database
from tests.safety.seeds import nsys_export
from tests.traces.nsys.exports import tid_of

PAGE = 4096
FAN_OUT = 580


def interior_page(child: int) -> bytes:
    """Return a page of a table's tree with FAN_OUT + 1 children, all of them the same page."""
    cells = b"".join(struct.pack(">IB", child, 1) for _ in range(FAN_OUT))
    begin = PAGE - len(cells)
    header = struct.pack(">BHHHBI", 5, 0, FAN_OUT, begin, 0, child)
    places = b"".join(struct.pack(">H", begin + 5 * at) for at in range(FAN_OUT))
    return (header + places).ljust(begin, b"\0") + cells


def amplified(path: Path, levels: int) -> Path:
    """Write an export of a few kilobytes with FAN_OUT ** levels times the rows of one page."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute(
            "CREATE TABLE OSRT_API (start INTEGER, end INTEGER, globalTid INTEGER, nameId INTEGER)"
        )
        rows = [(at, at + 1, tid_of(7, 7), 1) for at in range(50)]
        connection.executemany("INSERT INTO OSRT_API VALUES (?, ?, ?, ?)", rows)
        connection.commit()
        root = int(connection.execute("SELECT rootpage FROM sqlite_master").fetchone()[0])
    data = bytearray(path.read_bytes())
    count = len(data) // PAGE
    data += data[(root - 1) * PAGE : root * PAGE]  # the rows, in a separate page
    child = count + 1
    for _ in range(levels - 1):
        data += interior_page(child)
        child = len(data) // PAGE
    data[(root - 1) * PAGE : root * PAGE] = interior_page(child)
    data[28:32] = struct.pack(">I", len(data) // PAGE)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("levels", [2, 6])
def test_an_export_whose_pages_repeat_billions_of_rows_is_refused(
    tmp_path: Path, levels: int
) -> None:
    """24 KB contain 50 * 580 ** 6 rows."""
    with pytest.raises(UnreadableRun, match="damaged SQLite file"):
        load_trace(amplified(tmp_path / "a.sqlite", levels))


def test_an_export_whose_pages_repeat_few_rows_is_read(tmp_path: Path) -> None:
    assert load_trace(amplified(tmp_path / "a.sqlite", 1)).table("ranges") is not None


def test_texts_longer_than_the_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "TEXT_PER_BYTE", 0)
    monkeypatch.setattr(database, "LEAST_TEXT", 10)
    with pytest.raises(UnreadableRun, match="more rows or text"):
        load_trace(nsys_export(tmp_path / "a.sqlite", True))


def test_an_export_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    assert (
        load_trace(nsys_export(tmp_path / os.fsdecode(b"\xff.sqlite"), True)).table("kernels")
        is not None
    )


def test_a_pipe_named_as_an_export_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.sqlite")
    with pytest.raises(UnreadableRun):
        load_trace(tmp_path / "a.sqlite")
