"""Damaged, foreign and malicious exports: an error of one line, or their valid rows."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from perfscope.traces.nsys import database
from tests.traces.comparison import refusal_to_read
from tests.traces.nsys.exports import export, pid_of, tid_of

KERNEL: dict[str, Any] = {
    "globalPid": pid_of(7),
    "deviceId": 0,
    "streamId": 7,
    "shortName": "k",
    "correlationId": 1,
}
CALL: dict[str, Any] = {"globalTid": tid_of(7, 7), "nameId": "cudaLaunchKernel", "correlationId": 1}


def valid_export(path: Path) -> Path:
    return export(
        path,
        CUPTI_ACTIVITY_KIND_KERNEL=[
            {"start": 10 * at, "end": 10 * at + 5, **KERNEL} for at in range(1, 400)
        ],
        CUPTI_ACTIVITY_KIND_RUNTIME=[{"start": 1, "end": 2, **CALL}],
        NVTX_EVENTS=[
            {"start": 1, "end": 9, "eventType": 59, "text": "step", "globalTid": tid_of(7, 7)}
        ],
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("report.nsys-rep", b"anything", "nsys export --type sqlite report.nsys-rep"),
        ("report.qdrep", b"", "nsys export --type sqlite report.qdrep"),
        ("empty.sqlite", b"", "empty"),
        ("picture.sqlite", b"\x89PNG\r\n\x1a\n" + bytes(100), "not an SQLite file"),
        (
            "noise.sqlite",
            b"SQLite format 3\x00" + bytes(range(256)) * 40,
            "damaged SQLite file",
        ),
        ("head.sqlite", b"SQLite format 3\x00", "SQLite file"),
    ],
)
def test_a_file_that_is_not_an_export_is_refused(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert reason in refusal_to_read(tmp_path / name)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE rocpd_api (start INTEGER, end INTEGER)")
    assert "Nsight Systems" in refusal_to_read(tmp_path / "other.db")


def test_an_export_without_events_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "none.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=[])
    assert "no events" in refusal_to_read(path)


def test_a_folder_with_the_name_of_an_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").mkdir()
    assert "run folder" in refusal_to_read(tmp_path / "a.sqlite")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = valid_export(tmp_path / "cut.sqlite")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged SQLite file" in refusal_to_read(path)


def test_a_view_that_never_ends_is_not_read(tmp_path: Path) -> None:
    path = export(
        tmp_path / "view.sqlite", CUPTI_ACTIVITY_KIND_RUNTIME=[{"start": 1, "end": 2, **CALL}]
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            'CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS WITH RECURSIVE n("start", "end") AS '
            '(SELECT 1, 2 UNION ALL SELECT "start" + 1, "end" + 1 FROM n) SELECT * FROM n'
        )
        connection.commit()
    trace = load_trace(path)
    launches = trace.table("launches")
    assert trace.table("kernels") is None
    assert launches is not None and len(launches) == 1


def test_a_column_that_computes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "generated.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE OSRT_API (start INTEGER, end INTEGER, globalTid INTEGER, "
            "nameId INTEGER GENERATED ALWAYS AS (start) VIRTUAL)"
        )
        connection.execute("INSERT INTO OSRT_API (start, end, globalTid) VALUES (9, 10, 3)")
        connection.commit()
    assert load_trace(path).table("ranges")["name"].isna().tolist() == [True]  # type: ignore[index]


def test_rows_of_impossible_times_are_ignored_and_counted(tmp_path: Path) -> None:
    times: list[tuple[Any, Any]] = [
        (10, 20),
        ("soon", 20),
        (10, None),
        (1.5, 2),
        (20, 10),
        (b"\0", 2),
        (-(2**63), 2**63 - 1),
    ]
    kernels = [{"start": start, "end": end, **KERNEL} for start, end in times]
    wrong = {
        "globalPid": "who",
        "deviceId": 0.5,
        "streamId": b"\1",
        "correlationId": "x",
        "shortName": 4_000_000,
    }
    kernels.append({"start": 30, "end": 40, **wrong})
    trace = load_trace(export(tmp_path / "types.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=kernels))
    table = trace.table("kernels")
    assert table is not None
    assert table[["ts", "dur", "device", "stream", "correlation", "launch"]].values.tolist() == [
        [0, 10, 0, 7, 1, -1],
        [20, 10, -1, -1, -1, -1],
    ]
    assert table["name"].isna().tolist() == [False, True]
    (dropped,) = trace.manifest.dropped
    assert dropped.startswith("6 events")


def test_events_of_another_year_do_not_extend_the_recording(tmp_path: Path) -> None:
    far = {"start": 10**18, "end": 10**18 + 5}
    kernels = [{"start": 10 * at, "end": 10 * at + 5, **KERNEL} for at in range(1, 400)]
    trace = load_trace(
        export(
            tmp_path / "far.sqlite",
            CUPTI_ACTIVITY_KIND_KERNEL=[*kernels, {**KERNEL, **far}],
            CUPTI_ACTIVITY_KIND_RUNTIME=[{"start": 9, "end": 10, **CALL}],
            NVTX_EVENTS=[
                {
                    "start": 11,
                    "end": None,
                    "eventType": 59,
                    "text": "open",
                    "globalTid": tid_of(7, 7),
                }
            ],
            OSRT_API=[{"nameId": "poll", "globalTid": tid_of(7, 7), **far}],
        )
    )
    assert trace.span_ns == (0, 3995 - 9)
    assert trace.manifest.dropped[0].startswith("2 events")
    kernels_read = trace.table("kernels")
    assert kernels_read is not None and len(kernels_read) == 399
    assert set(kernels_read["launch"]) == {0}
    assert len(trace.table("ranges")) == 1  # type: ignore[arg-type]


def test_names_that_are_not_text_or_not_utf8_are_replaced_or_missing(tmp_path: Path) -> None:
    path = export(
        tmp_path / "names.sqlite",
        OSRT_API=[{"start": 1, "end": 2, "nameId": key, "globalTid": 5} for key in (1, 2, 3)],
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO StringIds VALUES (1, CAST(x'ff41' AS TEXT)), (2, x'00ff'), ('id', 'text')"
        )
        connection.commit()
    names = load_trace(path).table("ranges")["name"]  # type: ignore[index]
    assert names.astype(object).where(names.notna(), None).tolist() == ["\ufffdA", None, None]


def test_the_journal_of_an_export_is_read_too(tmp_path: Path) -> None:
    path = valid_export(tmp_path / "journal.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL (start, end) VALUES (1, 2)")
        connection.commit()
        assert len(load_trace(path).table("kernels")) == 400  # type: ignore[arg-type]


def test_an_export_with_special_characters_in_its_path_is_read(tmp_path: Path) -> None:
    path = valid_export(tmp_path / "a?b#c%41 é.sqlite")
    assert len(load_trace(path).table("kernels")) == 399  # type: ignore[arg-type]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.integers(16, 40_000), st.integers(0, 255)), min_size=1, max_size=30
    )
)
def test_a_file_with_changed_bytes_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    whole = tmp_path / "whole.sqlite"
    if not whole.exists():
        valid_export(whole)
    content = bytearray(whole.read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    path = tmp_path / "changed.sqlite"
    path.write_bytes(content)
    try:
        load_trace(path)
    except UnreadableRun as error:
        assert "\n" not in str(error)


def test_texts_that_take_more_time_than_the_size_of_the_file_allows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where all rows of a table have the same value of megabytes, in the same pages."""
    monkeypatch.setattr(database, "LEAST_CPU_S", 0.0)
    monkeypatch.setattr(database, "CPU_S_PER_BYTE", 0.0)
    assert "damaged SQLite file" in refusal_to_read(valid_export(tmp_path / "slow.sqlite"))
