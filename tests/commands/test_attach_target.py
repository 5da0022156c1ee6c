"""`attach` without a PID: the only candidate, else the list of candidates and exit code 2."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.agent.job.candidates import Candidate, find_candidates
from perfscope.commands.attachment.target import only_candidate
from perfscope.errors import UsageError
from tests.commands.calling import call
from tests.target_processes import Run, end, start

NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> "object":
    runs = [start("looping.py", tmp_path_factory.mktemp(f"target{number}")) for number in (1, 2)]
    yield runs
    for run in runs:
        end(run)


def of(targets: list[Run]) -> list[Candidate]:
    """Return the candidates on this machine that are targets of this test."""
    pids = [run.pid for run in targets]
    return [candidate for candidate in find_candidates() if candidate.pid in pids]


def test_the_only_candidate_is_attached_to(
    targets: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    [candidate] = of(targets[:1])
    assert only_candidate([candidate], print_list=True) == candidate.pid
    printed = capsys.readouterr()
    assert printed.out == "" and str(candidate.pid) in printed.err


def test_several_candidates_are_listed(
    targets: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="perfscope attach PID"):
        only_candidate(of(targets), print_list=True)
    listed = capsys.readouterr().out
    assert all(str(run.pid) in listed for run in targets)


def test_attach_without_a_pid_lists_several_candidates_and_exits_with_2(
    targets: list[Run], tmp_path: Path
) -> None:
    done = call("attach", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert all(str(run.pid) in done.stdout for run in targets)
    quiet = call("attach", "--json")
    assert quiet.returncode == 2 and quiet.stdout == ""
    assert list(tmp_path.iterdir()) == []


IN_NAMESPACE = """
import subprocess, sys, time
target = subprocess.Popen([sys.executable, sys.argv[1], sys.argv[2]])
try:
    time.sleep(6)
    options = ["--depth", "observe", "--duration", "1", "--out", sys.argv[3]]
    sys.exit(subprocess.run([sys.executable, "-m", "perfscope", "attach", *options]).returncode)
finally:
    target.kill()
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1)")
def test_alone_in_a_container_the_training_is_found(tmp_path: Path) -> None:
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    program = Path(__file__).parents[1] / "agent" / "targets" / "looping.py"
    command = [*NAMESPACE, sys.executable, "-c", IN_NAMESPACE]
    words = [str(program), str(tmp_path / "steps"), str(tmp_path / "run")]
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=120, cwd=os.getcwd()
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "manifest.json").exists()
