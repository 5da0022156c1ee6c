"""The list of runs: its rows, the answers that are kept on disk, and the deletion of runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.folder_contents import Found, contents
from perfscope.traces.trace import Trace
from perfscope.ui import stored_verdicts
from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.run_list import deletion_reply
from perfscope.ui.dashboard.run_rows import run_rows
from perfscope.ui.dashboard.verdicts import Judged, Verdicts, judge_run, stored_answer
from tests.conventions.sources import ROOT
from tests.target_processes import until
from tests.traces.generated_ranks import generated_ranks
from tests.ui.dashboard_client import PORT, DashboardClient, every
from tests.ui.kineto_files import small_trace
from tests.ui.recorded import recorded_run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    recorded_run(root / "train.perfscope")
    small_trace(root / "gpu.json")
    generated_ranks(root / "job", ranks=3)
    return root


@pytest.fixture
def verdicts() -> Iterator[Verdicts]:
    made = Verdicts()
    yield made
    made.close()


def rows_of(folder: Path, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the rows when every verdict is known."""
    runs = contents(folder)
    judged = [run for run in runs if not run.job]
    known: dict[str, Judged] = {}

    def all_known() -> bool:
        known.update(verdicts.of(judged))
        return len(known) == len(judged)

    until(all_known)
    return run_rows(runs, known)


def test_the_parts_of_a_job_follow_it_with_their_own_bars(folder: Path, verdicts: Verdicts) -> None:
    rows = rows_of(folder, verdicts)
    job = next(number for number, row in enumerate(rows) if row["parts"])
    assert rows[job]["parts"] == 3 and rows[job]["verdict"]
    parts = rows[job + 1 : job + 4]
    assert [row["job"] for row in parts] == [rows[job]["id"]] * 3
    assert [row["name"] for row in parts] == sorted(row["name"] for row in parts)
    for row in parts:
        assert row["bar"] and abs(sum(part[1] for part in row["bar"]) - 1) < 0.1
    assert not any(row["parts"] for row in rows if row["id"] != rows[job]["id"])


def test_a_row_has_the_numbers_that_it_is_sorted_by(folder: Path, verdicts: Verdicts) -> None:
    rows = {row["name"]: row for row in rows_of(folder, verdicts)}
    train = rows["train.perfscope"]
    assert train["step"] == pytest.approx(10, rel=0.1) and train["gain"] > 1
    assert train["mark"] == "input-wait" and train["removable"]
    assert not rows["gpu.json"]["removable"]


def test_an_answer_is_recalled_by_content_and_not_by_place(folder: Path, cache: Path) -> None:
    (run,) = [run for run in contents(folder) if run.run]
    judged = judge_run(run, ())
    assert judged.diagnosis is not None and stored_answer(run, ()) is not None
    moved = folder.parent / "elsewhere" / "train.perfscope"
    shutil.copytree(run.path, moved)
    (copy,) = contents(moved.parent)
    recalled = stored_answer(copy, ())
    assert recalled is not None and recalled.diagnosis is not None
    assert recalled.diagnosis.verdict == judged.diagnosis.verdict
    assert recalled.diagnosis.run == str(moved)
    assert stored_answer(run, ("input-bound",)) is None
    segment = next(path for path in moved.rglob("*.arrow"))
    segment.write_bytes(segment.read_bytes() + b"x")
    assert stored_answer(contents(moved.parent)[0], ()) is None


def test_an_answer_of_other_code_is_not_recalled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = [run for run in contents(folder) if run.run]
    judge_run(run, ())
    monkeypatch.setattr("perfscope.ui.dashboard.verdicts.code_of_process", lambda: "other")
    assert stored_answer(run, ()) is None


def test_a_growing_run_is_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = [run for run in contents(folder) if run.run]
    monkeypatch.setattr("perfscope.ui.dashboard.verdicts.is_complete", lambda _: False)
    assert judge_run(run, ()).diagnosis is not None
    assert stored_answer(run, ()) is None
    assert stored_verdicts.is_complete(run)


def test_a_run_that_changes_while_it_is_read_is_not_stored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the owner of a run could store an answer for the contents of another one."""
    (run,) = [run for run in contents(folder) if run.run]
    segment = next(path for path in run.path.rglob("*.arrow"))
    whole, load, left = segment.read_bytes(), Found.load, list[bytes]()

    def exchanged(found: Found) -> Trace:
        segment.write_bytes(whole + b"x")
        try:
            return load(found)
        finally:
            segment.write_bytes(left[-1])

    monkeypatch.setattr(Found, "load", exchanged)
    for content in (whole + b"x", whole):
        left.append(content)
        judge_run(run, ())
        assert stored_answer(run, ()) is None


def test_a_file_that_cannot_be_read_is_answered_from_the_cache_too(folder: Path) -> None:
    bad = folder / "bad.json"
    bad.write_text('{"traceEvents": [1, 2')
    (run,) = [run for run in contents(folder) if run.path == bad]
    judged = judge_run(run, ())
    recalled = stored_answer(run, ())
    assert judged.error is not None and recalled is not None and recalled.error == judged.error


def test_runs_are_deleted_by_id_and_traces_are_not(folder: Path) -> None:
    client = DashboardClient(folder)
    ids = [run.id for run in client.library.runs()]
    reply = deletion_reply(client.library, [*ids, "../etc", 7])
    assert "Deleted 1 run folder" in reply
    assert not (folder / "train.perfscope").exists()
    assert (folder / "gpu.json").exists() and len(os.listdir(folder / "job")) == 3
    assert [run.run for run in client.library.runs()] == [False] * len(client.library.runs())
    client.verdicts.close()


def test_without_a_token_nothing_can_be_deleted(folder: Path) -> None:
    client = DashboardClient(folder, Access(PORT, token=None), signed_in=False)
    assert "deletion-reply.children" not in client.app.callback_map
    buttons = every(client.page("/")["page"], "Button")
    assert "delete-runs" not in {button.get("id") for button in buttons}
    client.verdicts.close()


WITHOUT_PANDAS = """
import sys
from pathlib import Path
from tests.ui.dashboard_client import DashboardClient, every
(grid,) = every(DashboardClient(Path(sys.argv[1])).page("/")["page"], "AgGrid")
print(sum(bool(row["verdict"]) for row in grid["rowData"]), "pandas" in sys.modules)
"""


def test_known_verdicts_are_listed_without_the_import_of_pandas(folder: Path) -> None:
    for run in contents(folder):
        if not run.job:
            judge_run(run, ())
    command = [sys.executable, "-c", WITHOUT_PANDAS, str(folder)]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["3", "False"]
