"""`report` and `analyze` of a real recording."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.calling import call
from tests.target_processes import attach, end, start


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recorded")
    target = start("looping.py", folder)
    try:
        attach(target.pid, folder / "run.perfscope")
    finally:
        end(target)
    yield folder / "run.perfscope"


def test_report_writes_a_complete_file_and_prints_its_path(recorded: Path, tmp_path: Path) -> None:
    done = call("report", recorded, "-o", tmp_path / "r.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {tmp_path / 'r.html'}\n", "")
    text = (tmp_path / "r.html").read_text("utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert len(text) < 5_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_json_is_alone_on_stdout_with_a_report(recorded: Path, tmp_path: Path) -> None:
    done = call("report", recorded, "--json", "-o", tmp_path / "r.html")
    answer = json.loads(done.stdout)
    assert done.stderr == f"wrote {tmp_path / 'r.html'}\n"
    assert answer == json.loads(call("analyze", recorded, "--json").stdout)


def test_analyze_prints_the_headline_of_the_report(recorded: Path, tmp_path: Path) -> None:
    done = call("analyze", recorded, "--html", tmp_path / "r.html")
    first = json.loads(call("analyze", recorded, "--json").stdout)["verdict"]["headline"]
    assert first in " ".join(done.stdout.split())
    assert first in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.parametrize("where", ["no/such/folder/r.html", "taken"])
def test_a_report_that_cannot_be_written_is_an_error_without_files(
    recorded: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "taken").mkdir()
    done = call("report", recorded, "-o", tmp_path / where)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("perfscope: ") and done.stderr.count("\n") == 1
    assert str(tmp_path / where) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
