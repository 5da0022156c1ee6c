"""The terminal view: the same words in a pipe, on a terminal, and under NO_COLOR."""

import io
import os
import pty
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec
import pytest

from perfscope.analyzer.diagnose import diagnose
from perfscope.ui.terminal.diagnosis_view import lines, show
from tests.build import trace
from tests.ui.diagnoses import DIAGNOSIS, SENTENCE
from tests.ui.runs import input_bound

GOLDEN = """\
20 s, 188 steps of 106 ms (p95 121 ms)

Input-bound: training waits for data 61 % of each step
Both cores are 97 % busy decoding. More workers would not help.
bound by input, 61 % of the time; sure: 0.96

  a step   input wait 64.7 ms ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ compute or host 38.2 ms ██████████
          input wait 64.7 ms (61 %)   compute or host 38.2 ms (36 %)   checkpoint 3.18 ms (3 %)

  what to change                     now costs      then              because
  1 decode smaller images            64.7 ms/step   3.1x              longest wait: 88 ms in step 97
                                     61 % of it     (2.6x to 3.4x)    a batch takes 47 ms to make:
                                                                      41 ms on a core
        image.draft('RGB', (256, 256))
    - or keep decoded samples in a cache
    perfscope explain input-bound/decode-bound
  2 write checkpoints in the         3.18 ms/step   at most 1.03x     Checkpoint stall: training
    background                       3 % of it                        waits 3 % of the time for
                                                                      checkpoints
    perfscope explain checkpoint-stall
  3 Memory growth: 12 MB per minute  no time yet
    in `collect (train.py:9)`
    perfscope explain memory-growth

  looked for and not there: gc-pause, gil-contention
  not measured: host-sync (no GPU in use)
  not measured: cpu-throttled (its rule broke: ValueError: no such column)
  not measured: stacks (partial: py-spy is missing)
  not measured: dropped (2 segments of probe.records)
  overhead: 1.2 % (0 to 2 %)

  run   run.perfscope
  next  perfscope report run.perfscope -o report.html
"""


def shown(diagnosis: Any = DIAGNOSIS, of: Any = None) -> str:
    stream = io.StringIO()
    show(diagnosis, of, stream)
    return stream.getvalue()


@contextmanager
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A stream that is a terminal of 100 columns, and the end to read what it shows from."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as reader:
        yield stream, reader.fileno()


def on_terminal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100", **environment}.items():
        monkeypatch.setenv(name, value)
    if "NO_COLOR" not in environment:
        monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal() as (stream, reader):
        show(DIAGNOSIS, None, stream)
        stream.flush()
        text = b""
        while b"report.html\r\n" not in text:
            text += os.read(reader, 65536)
    return text.decode()


def words(text: str) -> list[str]:
    """What is said, without colours, fills and the squares of the key."""
    return re.sub(r"\x1b\[[0-9;]*m|[▒█╱■]", " ", text).split()


def test_the_whole_view_in_a_pipe() -> None:
    assert shown() == GOLDEN


def test_a_terminal_has_the_same_words_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch)
    assert f"\x1b[1;33m{SENTENCE}" in text
    assert words(text) == words(GOLDEN)


def test_no_color_is_respected_and_the_bar_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9)[0-9]", text)
    assert "▒▒▒▒" in text and "████" in text
    assert words(text) == words(GOLDEN)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
@pytest.mark.parametrize("colour", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, colour: bool) -> None:
    for line in lines(diagnose(input_bound()), input_bound(), width, colour) + lines(
        DIAGNOSIS, None, width, colour
    ):
        assert line.cell_len <= width, line.plain


def test_a_number_keeps_its_unit() -> None:
    text = "\n".join(
        line.plain for width in range(60, 121) for line in lines(DIAGNOSIS, None, width, False)
    )
    assert not re.search(r"\d\n\s*(ms|s|%|MB)\b", text)


def test_the_end_is_cut_off_where_it_does_not_fit() -> None:
    stream = io.StringIO()
    show(DIAGNOSIS, None, stream, most_lines=6)
    cut = stream.getvalue().splitlines()
    assert len(cut) == 6 and cut[2] == SENTENCE and cut[-1] == "  ... the rest does not fit here"


def test_the_name_comes_first() -> None:
    run = input_bound()
    first = shown(diagnose(run), run).splitlines()[0]
    assert first.startswith("train.py (pid 100), 2 loader workers, 2 usable cores, ")


def test_a_run_without_steps_says_so_and_advises_nothing() -> None:
    empty = trace()
    text = shown(diagnose(empty), empty)
    assert "what to change" not in text and "a step" not in text
    assert "what bounds it is not known" in text


def test_seconds_stand_in_for_steps_where_there_are_none() -> None:
    without = msgspec.structs.replace(
        DIAGNOSIS, steps=msgspec.structs.replace(DIAGNOSIS.steps, mean_ms=None, p95_ms=None)
    )
    text = shown(without)
    assert "  time     input wait 12.2 s " in text and "61 % of the time" in text
