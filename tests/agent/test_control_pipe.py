"""Commands on a pipe that control a recording; the end of the pipe ends it."""

import os

import pytest

from perfscope.agent.recording.control_pipe import obey_commands


class CountingRecorder:
    """A recorder that counts the requests to stop and the requests for a window."""

    def __init__(self) -> None:
        self.stops = self.windows = 0

    def ask_for_window(self) -> None:
        self.windows += 1

    def ask_to_stop(self) -> None:
        self.stops += 1


@pytest.mark.parametrize("text", [b"stop\n", b"", b"dance\n" * 3, b"x" * 5000 + b"\nstop\n"])
def test_a_recording_ends_only_at_stop_and_at_the_end_of_the_pipe(text: bytes) -> None:
    reader, writer = os.pipe()
    recorder = CountingRecorder()
    with os.fdopen(reader, "rb", buffering=0) as commands, os.fdopen(writer, "wb") as pipe:
        thread = obey_commands(recorder, commands)
        pipe.write(text.removesuffix(b"stop\n"))
        pipe.flush()
        assert recorder.stops == 0
        pipe.write(b"stop\n" if text.endswith(b"stop\n") else b"")
        pipe.close()
        thread.join(10)
    assert recorder.stops == 1


def test_each_window_command_requests_one_window() -> None:
    reader, writer = os.pipe()
    recorder = CountingRecorder()
    with os.fdopen(reader, "rb", buffering=0) as commands, os.fdopen(writer, "wb") as pipe:
        thread = obey_commands(recorder, commands)
        pipe.write(b"window\nwindow\nstop\nwindow\n")
        pipe.close()
        thread.join(10)
    assert (recorder.windows, recorder.stops) == (2, 1)
