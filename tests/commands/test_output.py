"""Where output goes wrong: a wrong word, a terminal of few letters, a full disk. Always one line,
never a traceback.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import perfscope


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "COMMAND. See `perfscope --help`."),
        (("atach", "1"), "invalid choice: 'atach'"),
        (("attach", "train.py"), "See `perfscope attach --help`."),
        (("attach", "1", "--duration", "0"), "'0' is not a positive number of seconds"),
        (("report", "run.perfscope"), "See `perfscope report --help`."),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    done = subprocess.run(perfscope(*arguments), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.startswith("perfscope: ")
        and says in done.stderr
        and done.stderr.count("\n") == 1
    )


def test_a_full_disk_behind_stdout_is_said_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            perfscope("explain", "input-bound"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == "perfscope: No space left on device; `--debug` prints the traceback\n"


def test_a_terminal_without_our_letters_still_gets_the_words() -> None:
    program = (
        "import sys; from perfscope.cli import replace_unprintable_characters;"
        " replace_unprintable_characters(); print('a step \\u2592 39 \\xb5s')"
    )
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=ascii_only, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a step ? 39 ?s\n", "")
