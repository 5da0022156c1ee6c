"""`attach --keep N`: only runs that attach left in the working directory are removed, oldest
first.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfscope.commands.attachment.default_runs import default_runs, remove_older_runs
from tests.commands.calling import call
from tests.target_processes import perfscope
from tests.traces.test_reader import write


def run_named(folder: Path, name: str, *, begun_ns: int, finished: bool = True) -> Path:
    """Create and return a run folder of that name."""
    path = folder / name
    write(path)
    file = path / "manifest.json"
    facts = {"zero_realtime_ns": begun_ns, "finished": finished}
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
    return path


def test_the_oldest_runs_are_removed_and_the_newest_stay(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        run_named(tmp_path, f"perfscope-{number}-12000{number}.perfscope", begun_ns=number)
    assert remove_older_runs(tmp_path, 2) == ["perfscope-1-120001.perfscope"]
    assert remove_older_runs(tmp_path, 2) == []
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["perfscope-2-120002.perfscope", "perfscope-3-120003.perfscope"]


def test_only_default_runs_are_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    target = run_named(elsewhere, "perfscope-1-120000.perfscope", begun_ns=1)
    run_named(work, "mine.perfscope", begun_ns=1)
    run_named(work, "perfscope-train.py-120000.perfscope", begun_ns=1)
    (work / "perfscope-2-120000.perfscope").mkdir()
    (work / "perfscope-2-120000.perfscope" / "thesis.txt").write_text("years of work")
    (work / "perfscope-3-120000.perfscope").symlink_to(target)
    (work / "perfscope-4-120000.perfscope").write_text("a file")
    run_named(work, "perfscope-5-120000.perfscope", begun_ns=1, finished=False)
    before = sorted(path.name for path in work.rglob("*"))
    assert remove_older_runs(work, 0) == []
    assert sorted(path.name for path in work.rglob("*")) == before and target.exists()


def test_a_run_to_which_the_user_added_a_file_is_kept(tmp_path: Path) -> None:
    path = run_named(tmp_path, "perfscope-1-120000.perfscope", begun_ns=1)
    (path / "report.html").write_text("mine")
    assert remove_older_runs(tmp_path, 0) == [] and (path / "report.html").exists()
    (path / "report.html").unlink()
    assert remove_older_runs(tmp_path, 0) == [path.name]


def test_a_recording_that_was_killed_long_ago_is_removed(tmp_path: Path) -> None:
    path = run_named(tmp_path, "perfscope-5-120000.perfscope", begun_ns=1, finished=False)
    old_s = time.time() - 3600
    for entry in [path, *path.rglob("*")]:
        os.utime(entry, (old_s, old_s))
    assert [run.name for run in default_runs(tmp_path)] == [path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_run_of_another_user_is_not_removed(tmp_path: Path) -> None:
    path = run_named(tmp_path, "perfscope-5-120000.perfscope", begun_ns=1)
    os.chown(path, 65534, 65534)
    assert remove_older_runs(tmp_path, 0) == [] and path.exists()


def test_attach_keeps_as_many_runs_as_requested(tmp_path: Path) -> None:
    for number in (1, 2):
        run_named(tmp_path, f"perfscope-{number}-12000{number}.perfscope", begun_ns=number)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as target:
        options = ["--depth", "observe", "--duration", "1", "--keep", "2"]
        command = perfscope("attach", str(target.pid), *options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        target.kill()
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and "perfscope-2-120002.perfscope" in names
    [new] = [
        path for path in tmp_path.iterdir() if path.name.startswith(f"perfscope-{target.pid}-")
    ]
    assert new.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("options", [("--keep", "0"), ("--keep", "2", "--out", "d")])
def test_an_invalid_count_is_refused(options: tuple[str, ...]) -> None:
    done = call("attach", "1", *options)
    assert done.returncode == 2 and "--keep" in done.stderr and done.stderr.count("\n") == 1
