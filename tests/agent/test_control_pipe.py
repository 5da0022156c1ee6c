"""Commands on a pipe steer a recording; the pipe's end ends it."""

import os

import pytest

from perfscope.agent.control_pipe import obey_commands


class Heard:
    """Counts how often it was asked to stop, and for a window."""

    def __init__(self) -> None:
        self.stops = self.windows = 0

    def ask_for_window(self) -> None:
        self.windows += 1

    def ask_to_stop(self) -> None:
        self.stops += 1


@pytest.mark.parametrize("said", [b"stop\n", b"", b"dance\n" * 3, b"x" * 5000 + b"\nstop\n"])
def test_stop_and_the_end_of_the_pipe_end_it_and_nothing_else_does(said: bytes) -> None:
    reader, writer = os.pipe()
    heard = Heard()
    with os.fdopen(reader, "rb", buffering=0) as commands, os.fdopen(writer, "wb") as hand:
        thread = obey_commands(heard, commands)
        hand.write(said.removesuffix(b"stop\n"))
        hand.flush()
        assert heard.stops == 0
        hand.write(b"stop\n" if said.endswith(b"stop\n") else b"")
        hand.close()
        thread.join(10)
    assert heard.stops == 1


def test_a_window_is_asked_for_as_often_as_said() -> None:
    reader, writer = os.pipe()
    heard = Heard()
    with os.fdopen(reader, "rb", buffering=0) as commands, os.fdopen(writer, "wb") as hand:
        thread = obey_commands(heard, commands)
        hand.write(b"window\nwindow\nstop\nwindow\n")
        hand.close()
        thread.join(10)
    assert (heard.windows, heard.stops) == (2, 1)
