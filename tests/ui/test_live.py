"""How a recording is shown while it runs."""

import fcntl
import io
import os
import struct
import termios
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perfscope.analyzer.diagnosis import StepSummary
from perfscope.analyzer.input.live_progress import (
    FIRST_STEP,
    LOOP_NOT_REACHED,
    OUTSIDE,
    RUNNING,
    STARTING,
    LiveProgress,
)
from perfscope.ui.dashboard.live_now import OLD_S, age_text, stage_card
from perfscope.ui.dashboard.live_run import RunWatch
from perfscope.ui.terminal.recording_view import LiveView
from tests.ui.diagnoses import DIAGNOSIS
from tests.ui.recorded import recorded_run
from tests.ui.test_terminal import terminal


@dataclass
class Standing:
    elapsed_s: float
    steps: int = 0
    step_ms: float | None = None
    processes: int = 3
    entered_ms: float | None = None
    depth: str = "probe"


def test_a_pipe_gets_a_plain_line_every_five_seconds_and_the_entry_once() -> None:
    stream = io.StringIO()
    with LiveView(stream, total_s=15) as view:
        for tenth in range(121):
            view.progress(
                Standing(
                    tenth / 10,
                    tenth,
                    100.0 if tenth else None,
                    entered_ms=1.42 if tenth > 2 else None,
                )
            )
    assert stream.getvalue().splitlines() == [
        "    0.0 s  3 processes, waiting for the first complete step",
        "entered in 1.4 ms",
        "    5.0 s  3 processes, 50 steps, 100.0 ms/step",
        "   10.0 s  3 processes, 100 steps, 100.0 ms/step",
    ]


def test_a_terminal_gets_one_line_that_is_rewritten_and_gone_at_the_end() -> None:
    with terminal() as (stream, reader):
        with LiveView(stream, total_s=10) as view:
            view.progress(Standing(5.0, 50, 100.0))
        shown = b""
        while not shown.endswith(b"\r\x1b[K") or shown.count(b"Ctrl-C") < 1:
            shown += os.read(reader, 65536)
        text = shown.decode()
    assert "━" * 15 + "─" * 15 in text and "Ctrl-C: stop and report" in text
    assert text.count("\n") == 0


def test_a_followed_recording_is_redrawn_in_place_with_the_verdict_visible() -> None:
    with terminal() as (stream, reader):
        fcntl.ioctl(reader, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
        with LiveView(stream, total_s=None) as view:
            view.diagnosis(DIAGNOSIS, None)
        text = ""
        while "truncated" not in text:
            text += os.read(reader, 65536).decode()
    assert text.startswith("\x1b[H\x1b[J") and "Input-bound: training waits" in text
    assert text.count("\n") <= 17


def test_without_a_step_the_page_shows_the_stage_in_place_of_a_verdict() -> None:
    without = msgspec.structs.replace(
        DIAGNOSIS, steps=StepSummary(0, None, None, None, 0), requests=None
    )
    for stage in (STARTING, LOOP_NOT_REACHED, FIRST_STEP, RUNNING):
        assert stage_card(LiveProgress(stage), without) is not None
    assert stage_card(LiveProgress(OUTSIDE), without) is None
    assert stage_card(LiveProgress(FIRST_STEP), DIAGNOSIS) is None


def test_old_data_are_marked_and_the_age_is_always_shown() -> None:
    assert age_text(0.3).className == "data-age"
    old = age_text(OLD_S + 1)
    assert old.className == "data-age old" and "4 s" in old.children


def test_the_age_of_the_data_is_that_of_the_newest_record(tmp_path: Path) -> None:
    watch = RunWatch(recorded_run(tmp_path / "run.perfscope"))
    watch.tick(True)
    assert watch.snapshot is not None and watch.snapshot.age_s < 1
    watch.grown_s -= 10  # nothing has arrived since
    watch.tick(False)
    assert watch.snapshot.age_s >= 10
