"""Standard streams that are closed, full, or whose reader has ended: commands do their work and
keep their exit code.
"""

import os
import subprocess
from pathlib import Path

import pytest

from perfscope.ui.terminal.output import open_closed_streams
from tests.target_processes import perfscope
from tests.ui.recorded import recorded_run

REDIRECTIONS = (">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", "| true")
"""Of a shell."""


def run_in_shell(words: list[str], redirection: str) -> tuple[int, str]:
    """Return the exit code of a command, and what it prints to the streams that are left."""
    script = 'set -o pipefail; "$@" ' + redirection
    done = subprocess.run(
        ["bash", "-c", script, "bash", *perfscope(*words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_a_report_is_written(tmp_path: Path, redirection: str) -> None:
    run, report = recorded_run(tmp_path / "run.perfscope"), tmp_path / "report.html"
    words = ["analyze", str(run), f"--html={report}"]
    code, text = run_in_shell(words, redirection)
    assert (code, "Traceback" in text, report.exists()) == (0, False, True), text


@pytest.mark.parametrize("redirection", REDIRECTIONS[:-1])
def test_an_error_keeps_its_exit_code(tmp_path: Path, redirection: str) -> None:
    code, text = run_in_shell(["analyze", str(tmp_path / "none")], redirection)
    assert (code, "Traceback" in text) == (2, False), text


@pytest.mark.parametrize("words", [("top", "--count=1", "--interval=0.1"), ("ps",), ("explain",)])
def test_a_view_without_stdout(words: tuple[str, ...]) -> None:
    assert run_in_shell([*words], ">&-") == (0, "")


def test_a_full_stdout_is_one_line() -> None:
    code, text = run_in_shell(["explain"], ">/dev/full")
    assert code == 1 and len(text.splitlines()) == 1 and text.startswith("perfscope: "), text


def test_a_file_does_not_get_the_descriptor_of_a_closed_stream() -> None:
    child = os.fork()
    if child == 0:
        os.closerange(0, 3)
        open_closed_streams()
        opened = os.open(os.devnull, os.O_RDONLY)
        inherited = [number for number in range(3) if os.get_inheritable(number)]
        os._exit(0 if opened > 2 and not inherited else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_command_that_is_run_finds_its_streams_closed(tmp_path: Path) -> None:
    words = ["run", f"--out={tmp_path / 'run'}", "--", "sh", "-c", "echo 1 || exit 7"]
    assert run_in_shell(words, ">&- 2>/dev/null")[0] == 7


@pytest.mark.parametrize("limit_kb", [100_000, 300_000, 600_000])
def test_too_little_memory_prints_a_line_without_a_traceback(tmp_path: Path, limit_kb: int) -> None:
    run = recorded_run(tmp_path / "run.perfscope")
    words = " ".join(perfscope("analyze", str(run)))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v {limit_kb}; OPENBLAS_NUM_THREADS=1 exec {words}"],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or done.stderr.strip()
