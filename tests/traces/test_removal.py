"""The deletion of run folders: only whole ones of the reader that nobody writes to."""

import json
import os
from pathlib import Path

import pytest

from perfscope.errors import PerfscopeError
from perfscope.traces.run_folder.removal import remove_run, why_kept
from tests.safety.other_user import NOBODY, needs_root
from tests.ui.recorded import recorded_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return recorded_run(tmp_path / "train.perfscope")


def test_a_run_folder_is_deleted_and_nothing_else(run: Path) -> None:
    other = recorded_run(run.parent / "other.perfscope")
    (run / "kineto").mkdir()
    (run / "kineto" / "rank0.json.gz").write_bytes(b"x")
    remove_run(run)
    assert list(run.parent.iterdir()) == [other]


def test_a_folder_with_other_files_is_kept(run: Path) -> None:
    for name in ("notes.txt", "streams/notes.txt", "kineto/model.pt"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
        with pytest.raises(PerfscopeError, match=name):
            remove_run(run)
        (run / name).unlink()
    assert why_kept(run) is None


def test_a_folder_with_a_link_is_kept_and_so_is_its_target(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    os.rename(run / "streams", outside)
    (run / "streams").symlink_to(outside)
    with pytest.raises(PerfscopeError, match="streams"):
        remove_run(run)
    assert list(outside.iterdir())


def test_only_what_was_checked_is_deleted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the folder above gives the name of the folder to delete to another one."""
    other = run.parent / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")

    def exchanged(path: Path) -> str | None:
        for scratch in run.parent.glob(".deleted-*"):
            scratch.rename(run.parent / "taken")
            other.rename(scratch)
        return why_kept(path)

    monkeypatch.setattr("perfscope.traces.run_folder.removal.why_kept", exchanged)
    with pytest.raises(PerfscopeError, match="not empty"):
        remove_run(run)
    (kept,) = run.parent.glob(".deleted-*")
    assert (kept / "thesis.txt").exists() and not list((run.parent / "taken").iterdir())


def test_a_link_to_a_run_and_a_folder_without_a_manifest_are_kept(run: Path) -> None:
    link = run.parent / "link.perfscope"
    link.symlink_to(run)
    with pytest.raises(PerfscopeError):
        remove_run(link)
    (run / "manifest.json").unlink()
    with pytest.raises(PerfscopeError):
        remove_run(run)
    assert (run / "streams").is_dir()


def test_a_run_that_is_being_recorded_is_kept(run: Path) -> None:
    manifest = run / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**whole, "finished": False}))
    assert why_kept(run) is not None
    for entry in [run, *run.rglob("*")]:
        os.utime(entry, (1, 1))
    assert why_kept(run) is None


@needs_root
def test_a_run_of_another_user_is_kept(run: Path) -> None:
    file = next(path for path in run.rglob("*") if path.is_file())
    os.chown(file, NOBODY, NOBODY)
    with pytest.raises(PerfscopeError, match="another user"):
        remove_run(run)
    assert file.exists()
