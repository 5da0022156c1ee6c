"""The terminal view: the words, without colour in a pipe."""

import io

from perfscope.analyzer.engine import diagnose
from perfscope.ui.terminal import show
from tests.build import trace
from tests.ui.runs import input_bound


def shown(of: object) -> str:
    stream = io.StringIO()
    show(diagnose(of), of, stream)  # type: ignore[arg-type]
    return stream.getvalue()


def test_the_sentence_comes_first_and_every_part_is_there() -> None:
    text = shown(input_bound())
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines[0].startswith("train.py (pid 100), 2 loader workers, 2 usable cores")
    assert lines[1].startswith("Input-bound: the run waits for its data 70 % of the time.")
    for part in (
        "a step",
        "waiting for input 7 ms (70 %)",
        "what to change",
        "looked for and not there",
        "not measured",
    ):
        assert part in text
    assert "perfscope explain input-bound" in text


def test_no_escape_codes_in_a_pipe_and_no_line_is_too_long() -> None:
    text = shown(input_bound())
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 110


def test_a_run_without_steps_says_what_to_do() -> None:
    text = shown(trace())
    assert "unknown" in text or "steps" in text
    assert "what to change" not in text
