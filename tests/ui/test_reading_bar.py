"""The progress of reading a file, on a terminal and elsewhere."""

import io
import os
import pty
from contextlib import suppress
from pathlib import Path

import pytest

from perfscope.traces.jobs.job import OpenExecutor
from perfscope.traces.jobs.processes import local_processes, local_threads
from perfscope.traces.load import load_all, load_trace
from perfscope.traces.reading_options import reading, reading_options
from perfscope.ui.terminal.reading_bar import LINE_EVERY_S, ReadingBar, reading_bar
from tests.traces.kineto.events import event, write_events


def test_a_short_read_prints_nothing() -> None:
    stream = io.StringIO()
    with reading_bar(stream) as bar:
        bar(50, 100, 1_000_000)
    assert stream.getvalue() == ""


def test_a_line_is_printed_from_time_to_time_without_a_terminal() -> None:
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


def test_a_terminal_has_a_bar_with_the_rate() -> None:
    reader, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        bar = ReadingBar(stream)
        bar.began_s -= 10
        bar(50, 100, 100_000_000)
        bar.close()
    shown = read_to_end(reader)
    assert "50%" in shown and "10 MB/s" in shown


def read_to_end(terminal: int) -> str:
    """Return everything up to the end, which a terminal reports as EIO."""
    shown = b""
    with suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_the_reader_reports_its_progress(tmp_path: Path) -> None:
    file = write_events(tmp_path / "a.json", [event(ts=at) for at in range(100)])
    progress: list[tuple[int, int, int]] = []
    with reading(lambda *so_far: progress.append(so_far)):
        load_trace(file)
    size = file.stat().st_size
    assert progress[-1][:2] == (size, size) and 0 < progress[-1][2] <= size
    assert reading_options().progress is None


@pytest.mark.parametrize("processes", [local_threads, local_processes])
def test_the_progress_of_several_files_is_their_sum(
    tmp_path: Path, processes: OpenExecutor
) -> None:
    files = [
        write_events(tmp_path / f"rank{rank}.json", [event(ts=at) for at in range(50 + rank)])
        for rank in range(3)
    ]
    whole = sum(file.stat().st_size for file in files)
    progress: list[tuple[int, int, int]] = []
    with reading(lambda *so_far: progress.append(so_far)):
        load_all([tmp_path], processes)
    done = [read for read, _, _ in progress]
    assert done == sorted(done) and len(done) >= 3
    assert progress[-1][:2] == (whole, whole) and 0 < progress[-1][2] <= whole


@pytest.mark.parametrize("share", [0, 1])
def test_an_empty_file_is_not_a_division_by_zero(share: int) -> None:
    stream = io.StringIO()
    bar = ReadingBar(stream)
    bar.began_s -= 10
    bar(share, 0, 0)
    assert stream.getvalue().startswith("reading: ")
