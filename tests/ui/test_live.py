"""How a recording is shown while it runs."""

import fcntl
import io
import os
import struct
import termios
from dataclasses import dataclass

from perfscope.ui.terminal.recording_view import LiveView
from tests.ui.diagnoses import DIAGNOSIS
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
