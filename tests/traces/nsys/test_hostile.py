"""A damaged, foreign or malicious file gives one line that says what to do, or the rows that are
sound.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from tests.traces.nsys.exports import export, pid_of, tid_of

KERNEL: dict[str, Any] = {
    "globalPid": pid_of(7),
    "deviceId": 0,
    "streamId": 7,
    "shortName": "k",
    "correlationId": 1,
}
CALL: dict[str, Any] = {"globalTid": tid_of(7, 7), "nameId": "cudaLaunchKernel", "correlationId": 1}


def sound(path: Path) -> Path:
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


def told(path: Path) -> str:
    """The one line of the refusal."""
    with pytest.raises(UnreadableRun) as caught:
        load_trace(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("report.nsys-rep", b"anything", "nsys export --type sqlite report.nsys-rep"),
        ("report.qdrep", b"", "nsys export --type sqlite report.qdrep"),
        ("empty.sqlite", b"", "is empty"),
        ("picture.sqlite", b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an SQLite file"),
        (
            "noise.sqlite",
            b"SQLite format 3\x00" + bytes(range(256)) * 40,
            "is a damaged SQLite file",
        ),
        ("head.sqlite", b"SQLite format 3\x00", "SQLite file"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in told(tmp_path / name)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE rocpd_api (start INTEGER, end INTEGER)")
    assert "not an export of Nsight Systems" in told(tmp_path / "other.db")


def test_an_export_without_events_is_refused(tmp_path: Path) -> None:
    assert "none.sqlite contains no events" in told(
        export(tmp_path / "none.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=[])
    )


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").mkdir()
    assert "is not a run folder" in told(tmp_path / "a.sqlite")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = sound(tmp_path / "cut.sqlite")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged SQLite file" in told(path)


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
    assert trace.table("kernels") is None and len(trace.table("launches")) == 1  # type: ignore[arg-type]


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


def test_rows_of_wrong_types_and_impossible_times_are_left_out_and_counted(tmp_path: Path) -> None:
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
    assert trace.manifest.dropped == ["6 events left out: they have impossible times"]


def test_a_lone_time_of_another_age_does_not_stretch_the_recording(tmp_path: Path) -> None:
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
    assert (
        trace.manifest.dropped[0]
        == "2 events left out: they are more than an hour away from all others"
    )
    kernels_read = trace.table("kernels")
    assert (
        kernels_read is not None and len(kernels_read) == 399 and set(kernels_read["launch"]) == {0}
    )
    assert len(trace.table("ranges")) == 1  # type: ignore[arg-type]


def test_names_that_are_no_text_or_no_utf8_do_no_harm(tmp_path: Path) -> None:
    path = export(
        tmp_path / "names.sqlite",
        OSRT_API=[{"start": 1, "end": 2, "nameId": n, "globalTid": 5} for n in (1, 2, 3)],
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO StringIds VALUES (1, CAST(x'ff41' AS TEXT)), (2, x'00ff'), ('id', 'text')"
        )
        connection.commit()
    names = load_trace(path).table("ranges")["name"]  # type: ignore[index]
    assert names.astype(object).where(names.notna(), None).tolist() == ["\ufffdA", None, None]


def test_a_journal_beside_it_is_read_too(tmp_path: Path) -> None:
    path = sound(tmp_path / "journal.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL (start, end) VALUES (1, 2)")
        connection.commit()
        assert len(load_trace(path).table("kernels")) == 400  # type: ignore[arg-type]


def test_odd_characters_in_the_path(tmp_path: Path) -> None:
    path = sound(tmp_path / "a?b#c%41 é.sqlite")
    assert len(load_trace(path).table("kernels")) == 399  # type: ignore[arg-type]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.integers(16, 40_000), st.integers(0, 255)), min_size=1, max_size=30
    )
)
def test_bytes_changed_anywhere(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Whatever is changed, the file is read or refused in one line."""
    whole = (
        bytearray(sound(tmp_path / "whole.sqlite").read_bytes())
        if not (tmp_path / "whole.sqlite").exists()
        else None
    )
    content = whole or bytearray((tmp_path / "whole.sqlite").read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    path = tmp_path / "changed.sqlite"
    path.write_bytes(content)
    try:
        load_trace(path)
    except UnreadableRun as error:
        assert "\n" not in str(error)
