"""Tables exported as Parquet and CSV, read again cell by cell."""

import csv
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from perfscope.traces.schema import TABLES
from perfscope.traces.writers import csv as csv_writer
from perfscope.traces.writers import parquet
from tests.build import MAIN, trace
from tests.traces.writers.traces import assert_same_cells, odd_trace


def test_parquet_files_have_the_cells_of_the_tables(tmp_path: Path) -> None:
    odd = odd_trace()
    parquet.write_parquet_folder(odd, tmp_path / "out")
    names = {name for name in TABLES if odd.table(name) is not None}
    assert {path.stem for path in (tmp_path / "out").glob("*.parquet")} == names
    for name in names:
        frame = odd.table(name)
        assert frame is not None
        assert_same_cells(frame, pd.read_parquet(tmp_path / f"out/{name}.parquet"))


def test_parquet_files_have_the_units_of_their_columns(tmp_path: Path) -> None:
    parquet.write_parquet_folder(odd_trace(), tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out/kernels.parquet")
    assert schema.field("dur").metadata == {b"unit": b"ns", b"comment": b"duration"}
    assert str(schema.field("ts").type) == "int64" and "dictionary" in str(
        schema.field("name").type
    )


def test_csv_files_have_the_cells_of_the_tables(tmp_path: Path) -> None:
    odd = odd_trace()
    csv_writer.write_csv_folder(odd, tmp_path / "out")
    for name in TABLES:
        frame = odd.table(name)
        if frame is None:
            assert not (tmp_path / f"out/{name}.csv").exists()
            continue
        with open(tmp_path / f"out/{name}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == list(frame.columns)
        text = frame.astype(object).where(frame.notna(), "").astype(str)
        assert rows[1:] == text.values.tolist(), name


def test_no_name_in_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    names = ["=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "\tx", "aten::add", "-1", ""]
    ops = [{"tid": 1, "ts": at, "dur": 1, "name": name} for at, name in enumerate(names)]
    csv_writer.write_csv_folder(trace(processes=[MAIN], ops=ops), tmp_path / "out")
    with open(tmp_path / "out/ops.csv", encoding="utf-8", newline="") as file:
        written = [row["name"] for row in csv.DictReader(file)]
    assert written == [*(f"'{name}" for name in names[:5]), *names[5:]]


@pytest.mark.parametrize(("writer", "suffix"), [(parquet, ".parquet"), (csv_writer, ".csv")])
def test_the_readme_lists_the_tables_and_those_that_are_absent(
    tmp_path: Path, writer: object, suffix: str
) -> None:
    writer.WRITER.write(odd_trace(), tmp_path / "out")  # type: ignore[attr-defined]
    text = (tmp_path / "out/README.md").read_text("utf-8")
    assert f"## kernels{suffix}: 3 rows" in text and "| dur | int64 | ns | duration |" in text
    assert "1700000000000000001 ns of Unix time" in text
    assert "- steps: not recorded in this test" in text
    assert "zero_realtime_ns" in (tmp_path / "out/manifests.json").read_text("utf-8")
