"""`perfscope.load` and `perfscope.diagnose` on a run folder that was really recorded."""

import json
import subprocess
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import perfscope
from perfscope.errors import UnreadableRun, UsageError
from perfscope.traces.schema import TABLES
from tests.target_processes import perfscope as command
from tests.traces.test_reader import write


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "job.perfscope"
    write(path)
    return path


def test_tables_are_frames_with_the_documented_columns(run_folder: Path) -> None:
    run = perfscope.load(run_folder)
    assert {"loader", "fetches", "ranges", "stacks"} <= set(run.tables)
    for name, table in run.tables.items():
        assert isinstance(table, pd.DataFrame)
        assert list(table.columns) == [column.name for column in TABLES[name]]
    assert "kernels" not in run.tables and run.tables.why_missing("kernels")
    with pytest.raises(KeyError, match="kernels"):
        run.tables["kernels"]


def test_a_changed_frame_changes_no_diagnosis(run_folder: Path) -> None:
    run = perfscope.load(str(run_folder))
    run.tables["loader"]["dur"] = 10**12
    assert run.tables["loader"]["dur"].max() == 10**12, "the same frame each time"
    assert run.diagnosis == perfscope.diagnose(run_folder)


def test_the_diagnosis_is_what_the_command_prints(run_folder: Path) -> None:
    words = command("analyze", run_folder, "--json")
    printed = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    diagnosis = perfscope.diagnose(run_folder)
    assert msgspec.to_builtins(diagnosis) == printed
    assert perfscope.diagnose(perfscope.load(run_folder)) == diagnosis


def test_what_cannot_be_read_and_unknown_ids_are_errors(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        perfscope.load(tmp_path / "none")
    (tmp_path / "bad.perfscope").mkdir()
    (tmp_path / "bad.perfscope" / "manifest.json").write_text("{")
    with pytest.raises(UnreadableRun):
        perfscope.diagnose(tmp_path / "bad.perfscope")
    with pytest.raises(UsageError, match="gc-pauze"):
        perfscope.diagnose(run_folder, ignore=["gc-pauze"])


def test_every_public_name_is_there() -> None:
    assert [name for name in perfscope.__all__ if not hasattr(perfscope, name)] == []
    assert set(perfscope.__all__) <= set(dir(perfscope))
    with pytest.raises(AttributeError):
        perfscope.no_such_name  # noqa: B018
