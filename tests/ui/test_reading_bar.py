"""How far the reading is, on a terminal and elsewhere."""

import io
import os
import pty
from contextlib import suppress
from pathlib import Path

import pytest

from perfscope.traces.jobs.job import Processes
from perfscope.traces.jobs.processes import local_processes, local_threads
from perfscope.traces.load import load_all, load_trace
from perfscope.traces.reading_options import reading, reading_options
from perfscope.ui.terminal.reading_bar import LINE_EVERY_S, ReadingBar, reading_bar
from tests.traces.kineto.events import event, written


def test_nothing_for_what_takes_no_time() -> None:
    stream = io.StringIO()
    with reading_bar(stream) as bar:
        bar(50, 100, 1_000_000)
    assert stream.getvalue() == ""


def test_a_line_now_and_then_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with reading_bar(stream) as bar:
        bar.began_s -= 10
        bar(50, 100, 100_000_000)
        bar(51, 100, 100_000_000)
        bar.began_s -= LINE_EVERY_S
        bar(90, 100, 300_000_000)
    assert stream.getvalue().splitlines() == [
        "reading: 50% after 10 s, 10 MB/s",
        "reading: 90% after 15 s, 20 MB/s",
    ]


def test_a_bar_with_its_rate_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        bar = ReadingBar(stream)
        bar.began_s -= 10
        bar(50, 100, 100_000_000)
        bar.close()
    shown = everything_written_to(ours)
    assert "50%" in shown and "10 MB/s" in shown


def everything_written_to(terminal: int) -> str:
    """What comes until the other end is closed, which a terminal tells by EIO."""
    shown = b""
    with suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_the_reader_tells_how_far_it_is(tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", [event(ts=at) for at in range(100)])
    told: list[tuple[int, int, int]] = []
    with reading(lambda *so_far: told.append(so_far)):
        load_trace(file)
    size = file.stat().st_size
    assert told[-1][:2] == (size, size) and 0 < told[-1][2] <= size
    assert reading_options().progress is None


@pytest.mark.parametrize("beside", [local_threads, local_processes])
def test_of_several_files_the_sums_are_told(tmp_path: Path, beside: Processes) -> None:
    files = [
        written(tmp_path / f"rank{rank}.json", [event(ts=at) for at in range(50 + rank)])
        for rank in range(3)
    ]
    whole = sum(file.stat().st_size for file in files)
    told: list[tuple[int, int, int]] = []
    with reading(lambda *so_far: told.append(so_far)):
        load_all([tmp_path], beside)
    assert [one[0] for one in told] == sorted(one[0] for one in told) and len(told) >= 3
    assert told[-1][:2] == (whole, whole) and 0 < told[-1][2] <= whole


@pytest.mark.parametrize("share", [0, 1])
def test_an_empty_file_divides_nothing(share: int) -> None:
    stream = io.StringIO()
    bar = ReadingBar(stream)
    bar.began_s -= 10
    bar(share, 0, 0)
    assert stream.getvalue().startswith("reading: ")
