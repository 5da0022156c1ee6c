"""The text of the program's lines: read safely, as they are in the files that the program runs."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.collectors.source_lines import valid_rows
from perfscope.agent.host import proc
from perfscope.agent.stacks.program_lines import ProgramLines
from perfscope.agent.target_user.files import read_lines
from tests.target_processes import TARGETS, attach, end, perfscope, start

LATER_S = 3600.0


def test_lines_of_the_program_are_kept_once_and_others_not_at_all() -> None:
    lines = ProgramLines()
    stack = "<module> (./train.py:9);main (/srv/a.py:4);_call_impl (torch/nn/modules/module.py:7)"
    lines.add(0, stack)
    lines.add(0, f"{stack};f (<stdin>:3);g (/...cut/off.py:2);h (./train.py:0);built-in")
    lines.add(1, "main (./train.py:5)")
    assert lines.by_process == {0: {"./train.py": {9}, "/srv/a.py": {4}}, 1: {"./train.py": {5}}}


@pytest.fixture
def root() -> Iterator[int]:
    opened = os.open("/", os.O_PATH | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def test_lines_are_those_of_the_file(tmp_path: Path, root: int) -> None:
    path = tmp_path / "a.py"
    path.write_text("first\n    second\nthird")
    found = read_lines(root, {str(path): [2, 3, 4, 0]}, time.time() + LATER_S).value
    assert list(valid_rows(found)) == [(str(path), 2, "    second"), (str(path), 3, "third")]


def test_changed_missing_and_special_files_are_left_out(tmp_path: Path, root: int) -> None:
    changed, pipe = tmp_path / "changed.py", tmp_path / "pipe.py"
    changed.write_text("text\n")
    os.mkfifo(pipe)
    wanted = {str(changed): [1], str(pipe): [1], str(tmp_path / "none.py"): [1]}
    assert read_lines(root, wanted, changed.stat().st_mtime - 1).value == []
    assert read_lines(root, wanted, time.time() + LATER_S).value == [[str(changed), 1, "text"]]


def test_a_damaged_answer_of_the_child_has_no_rows() -> None:
    assert list(valid_rows({"a": 1})) == []
    assert list(valid_rows([["a", "1", "text"], ["a", 1], None])) == []


def test_the_start_of_a_process_is_on_the_wall_clock() -> None:
    before_s = time.time()
    with subprocess.Popen(["sleep", "30"]) as sleeper:
        found = proc.stat(sleeper.pid)
        sleeper.kill()
    assert found is not None
    assert before_s - 0.1 < proc.start_time_s(found.start_ticks) < time.time() + 0.1


def lines_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in an answer that names a line of code."""
    if isinstance(value, dict):
        if {"file", "line", "text"} <= value.keys():
            yield value
        value = list(value.values())
    for member in value if isinstance(value, list) else ():
        yield from lines_in(member)


def test_a_recording_has_the_text_of_its_lines_and_redacts_it(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path)
    try:
        answer = attach(run.pid, tmp_path / "run", "--depth", "probe", seconds=6)
    finally:
        end(run)
    source = (TARGETS / "looping.py").read_text().split("\n")
    named = [row for row in lines_in(answer) if row["file"].endswith("looping.py")]
    assert named
    assert [row["text"] for row in named] == [source[row["line"] - 1].strip() for row in named]
    command = perfscope("analyze", tmp_path / "run", "--redact", "--json")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    redacted = list(lines_in(json.loads(done.stdout)))
    assert len(redacted) >= len(named)
    texts = {row["text"] for row in redacted} - {None}
    assert texts and all(text.startswith("line-") for text in texts)
