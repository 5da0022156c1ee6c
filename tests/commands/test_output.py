"""Errors of one line without a traceback: wrong usage, a terminal of few letters, a full disk."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.calling import call
from tests.target_processes import perfscope


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "`perfscope --help`"),
        (("atach", "1"), "'atach'"),
        (("attach", "train.py"), "`perfscope attach --help`"),
        (("attach", "1", "--duration", "0"), "'0'"),
        (("report", "run.perfscope"), "`perfscope report --help`"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], named: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("perfscope: ") and done.stderr.count("\n") == 1
    assert named in done.stderr


def test_a_full_disk_at_stdout_is_an_error_of_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            perfscope("explain", "input-bound"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("perfscope: ") and done.stderr.count("\n") == 1
    assert os.strerror(errno.ENOSPC) in done.stderr and "--debug" in done.stderr


def test_a_terminal_with_few_letters_gets_replacements() -> None:
    program = (
        "import sys; from perfscope.cli import replace_unprintable_characters;"
        " replace_unprintable_characters(); print('a step \\u2592 39 \\xb5s')"
    )
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=ascii_only, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a step ? 39 ?s\n", "")
