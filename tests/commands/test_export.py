"""`perfscope export`: what it writes, and what it will not write over."""

import os
from pathlib import Path

import pytest

from perfscope.cli import main
from perfscope.traces.exporting import is_export
from perfscope.traces.written_tables import HEADING
from tests.traces.nsys.exports import export, pid_of
from tests.traces.test_reader import write

FORMATS = {
    "perfetto": "run.perfetto.json.gz",
    "speedscope": "run.speedscope.json",
    "parquet": "run.parquet",
    "csv": "run.csv",
}


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    kernel = {
        "start": 1,
        "end": 5,
        "shortName": "k",
        "globalPid": pid_of(7),
        "deviceId": 0,
        "streamId": 7,
    }
    return export(tmp_path / "run.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=[kernel])


@pytest.mark.parametrize("to", FORMATS)
def test_export_prints_its_file_and_overwrites_only_with_force(
    trace: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(trace), "--to", to]
    assert main(command) == 0
    assert capsys.readouterr().out == f"wrote {FORMATS[to]}\n"
    assert [path.name for path in Path().iterdir()] == [FORMATS[to]], "and leaves nothing else"
    assert main(command) == 2
    error = capsys.readouterr().err
    assert FORMATS[to] in error and "--force" in error and len(error.splitlines()) == 1
    assert main([*command, "--force"]) == 0


def test_a_folder_that_is_not_an_export_is_never_removed(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    assert main(["export", str(trace), "--to", "csv", "-o", "mine", "--force"]) == 2
    assert "mine" in capsys.readouterr().err
    assert Path("mine/thesis.txt").read_text() == "years of work"
    assert main(["export", str(trace), "--to", "perfetto", "-o", "mine", "--force"]) == 2


def test_an_export_is_recognized_by_a_regular_file_of_its_user(tmp_path: Path) -> None:
    for name in ("pipe", "endless", "other", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"{HEADING}\n")
    for name in ("pipe", "endless"):
        (tmp_path / name / "README.md").unlink()
    os.mkfifo(tmp_path / "pipe" / "README.md")
    (tmp_path / "endless" / "README.md").symlink_to("/dev/zero")
    (tmp_path / "other" / "README.md").write_text(f"{HEADING} not\n")
    found = [name.name for name in sorted(tmp_path.iterdir()) if is_export(name)]
    assert found == ["export"]
    if os.geteuid() == 0:
        os.chown(tmp_path / "export", 65534, 65534)
        assert not is_export(tmp_path / "export")


def test_force_removes_the_tables_of_the_earlier_export(trace: Path) -> None:
    assert main(["export", str(trace), "--to", "csv", "-o", "out"]) == 0
    Path("out/ops.csv").write_text("of an earlier trace")
    assert main(["export", str(trace), "--to", "csv", "-o", "out", "--force"]) == 0
    assert not Path("out/ops.csv").exists() and Path("out/kernels.csv").exists()


def test_an_unreadable_input_or_output_is_an_error_of_one_line(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "nowhere", "--to", "csv"]) == 2
    assert main(["export", str(trace), "--to", "csv", "-o", "no/such/place"]) == 2
    unread, unwritten = capsys.readouterr().err.splitlines()
    assert "nowhere" in unread and "no/such" in unwritten


def test_an_export_is_compressed_if_its_name_ends_in_gz(trace: Path) -> None:
    assert main(["export", str(trace), "--to", "perfetto", "-o", "plain.json"]) == 0
    assert Path("plain.json").read_bytes().startswith(b'{"schemaVersion":1')
    assert main(["export", str(trace), "--to", "perfetto", "-o", "packed.json.gz"]) == 0
    assert Path("packed.json.gz").read_bytes().startswith(b"\x1f\x8b")


@pytest.mark.parametrize("to", FORMATS)
def test_a_recorded_run_is_exported(
    tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "job.perfscope")
    assert (
        main(["export", str(tmp_path / "job.perfscope"), "--to", to, "-o", str(tmp_path / "out")])
        == 0
    )
    assert capsys.readouterr().err == ""
    if to == "csv":
        assert (tmp_path / "out/loader.csv").read_text().count("\n") == 3
    elif to == "speedscope":
        assert b"f (a.py:2)" in (tmp_path / "out").read_bytes()
    elif to == "perfetto":
        assert b"DataLoader: fetch of a batch" in (tmp_path / "out").read_bytes()
