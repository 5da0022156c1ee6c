"""`report` and `analyze` on a run that was really recorded, once for all tests here."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import attach, end, perfscope, start


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recorded")
    target = start("looping.py", folder)
    try:
        attach(target.pid, folder / "run.perfscope")
    finally:
        end(target)
    yield folder / "run.perfscope"


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(perfscope(*arguments), capture_output=True, text=True, timeout=90)


def test_report_writes_one_whole_file_and_names_it(recorded: Path, tmp_path: Path) -> None:
    done = run("report", recorded, "-o", tmp_path / "r.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {tmp_path / 'r.html'}\n", "")
    text = (tmp_path / "r.html").read_text("utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert len(text) < 5_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_json_stays_alone_on_stdout_with_the_report(recorded: Path, tmp_path: Path) -> None:
    done = run("report", recorded, "--json", "-o", tmp_path / "r.html")
    answer = json.loads(done.stdout)
    assert done.stderr == f"wrote {tmp_path / 'r.html'}\n"
    assert answer == json.loads(run("analyze", recorded, "--json").stdout)


def test_analyze_says_the_same_as_the_page(recorded: Path, tmp_path: Path) -> None:
    done = run("analyze", recorded, "--html", tmp_path / "r.html")
    first = json.loads(run("analyze", recorded, "--json").stdout)["verdict"]["headline"]
    assert first in " ".join(done.stdout.split())
    assert first in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.parametrize("where", ["no/such/folder/r.html", "taken"])
def test_a_place_that_cannot_be_written_is_an_error_and_nothing_is_left(
    recorded: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "taken").mkdir()
    done = run("report", recorded, "-o", tmp_path / where)
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr.startswith(f"perfscope: cannot write {tmp_path / where}: ")
        and done.stderr.count("\n") == 1
    )
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
