"""`--ignore` and `[tool.perfscope] ignore`: ignored findings do not influence the verdict and are
listed separately.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from perfscope.commands.options import ignored_findings as ignored_module
from perfscope.commands.options.ignored_findings import ignored_findings, perfscope_table
from perfscope.errors import UsageError
from perfscope.ui.dashboard.serve import Dashboard
from tests.commands.calling import call
from tests.commands.conftest import Recording

OTHER_UID = 65534


def ids(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["id"] for finding in findings]


def assert_ignored(diagnosis: dict[str, Any]) -> None:
    assert diagnosis["verdict"]["id"] != "input-bound"
    assert "input-bound" not in ids(diagnosis["findings"])
    assert "input-bound" not in diagnosis["clear"]
    assert ids(diagnosis["ignored"]) == ["input-bound"]


def test_an_ignored_finding_is_not_the_verdict(recording: Recording) -> None:
    plain = json.loads(call("analyze", recording.run_folder, "--json").stdout)
    assert plain["verdict"]["id"] == "input-bound" and plain["ignored"] == []
    option = "--ignore=input-bound,straggler"
    done = call("analyze", recording.run_folder, "--json", option)
    assert_ignored(json.loads(done.stdout))


def test_report_and_run_accept_ignored_findings(recording: Recording, tmp_path: Path) -> None:
    options = ["-o", tmp_path / "r.html", "--json", "--ignore", "input-bound"]
    assert_ignored(json.loads(call("report", recording.run_folder, *options).stdout))
    done = call("run", "--ignore", "nothing-such", "--", "true", cwd=tmp_path)
    assert done.returncode == 2  # before the command starts


def test_the_nearest_pyproject_is_used(recording: Recording, tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.perfscope]\nignore = ["input-bound"]\n')
    command = ["analyze", recording.run_folder, "--json"]
    assert_ignored(json.loads(call(*command, cwd=below).stdout))
    (below / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert json.loads(call(*command, cwd=below).stdout)["verdict"]["id"] == "input-bound"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
def test_a_pyproject_of_another_user_is_not_read(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.perfscope]\nignore = ["input-bound", "nothing-such"]\n')
    os.chown(path, OTHER_UID, OTHER_UID)
    done = call("analyze", recording.run_folder, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["verdict"]["id"] == "input-bound"


def test_a_pipe_in_place_of_a_pyproject_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pyproject.toml")
    assert perfscope_table(tmp_path / "pyproject.toml") == {}


def test_a_deeply_nested_pyproject_is_an_error_in_one_line(
    recording: Recording, tmp_path: Path
) -> None:
    text = f"[tool.perfscope]\nignore = {'[' * 40_000}\n"
    (tmp_path / "pyproject.toml").write_text(text)
    done = call("analyze", recording.run_folder, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_an_unknown_id_is_an_error_with_a_suggestion(recording: Recording, tmp_path: Path) -> None:
    done = call("analyze", recording.run_folder, "--ignore", "input-bond")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "'input-bond'" in done.stderr and "input-bound?" in done.stderr
    (tmp_path / "pyproject.toml").write_text('[tool.perfscope]\nignore = ["gc-pauze"]\n')
    done = call("analyze", recording.run_folder, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pyproject.toml" in done.stderr and "gc-pause?" in done.stderr


@pytest.mark.parametrize(
    "text", ["[tool.perfscope]\nignore = 3\n", "[tool.perfscope]\nignore = [\n"]
)
def test_a_setting_that_cannot_be_read_is_an_error(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        ignored_findings([])


def test_without_a_toml_parser_only_a_file_with_our_table_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise ImportError

    monkeypatch.setattr(ignored_module, "toml_parser", missing)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n')
    assert ignored_findings(["gc-pause"]) == ("gc-pause",)
    file.write_text("[tool.perfscope]\n")
    with pytest.raises(UsageError, match="tomli"):
        ignored_findings([])


def test_the_dashboard_accepts_ignored_findings(recording: Recording) -> None:
    dashboard = Dashboard(recording.run_folder, port=0, ignored=("input-bound",))
    try:
        [run] = dashboard.library.runs()
        diagnosis = dashboard.library.get(run.id).diagnosis
    finally:
        dashboard.close()
    assert diagnosis.verdict.id != "input-bound"
    assert [finding.id for finding in diagnosis.ignored] == ["input-bound"]
