"""Labels of stack frames: how the probe writes them, and whose code they are."""

import sys
from pathlib import Path

import pytest

from perfscope.agent.probe.stacks import LONGEST_LABEL, short_path
from perfscope.traces.frames import Frame, parse_frame

FOLDER = "/srv/project/"


@pytest.mark.parametrize(
    ("path", "short", "is_of_program"),
    [
        (f"{FOLDER}train.py", "./train.py", True),
        (f"{FOLDER}data/load.py", "./data/load.py", True),
        ("train.py", "./train.py", True),
        ("/srv/library/model.py", "/srv/library/model.py", True),
        (f"{FOLDER}.venv/lib/python3.11/site-packages/torch/nn/functional.py", None, False),
        ("/usr/lib/python3/dist-packages/PIL/Image.py", "PIL/Image.py", False),
        ("/usr/lib/python3.12/multiprocessing/queues.py", "multiprocessing/queues.py", False),
        ("/opt/conda/lib/python3.10/threading.py", "threading.py", False),
        ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>", False),
        ("<string>", "<string>", False),
        ("<ipython-input-3-a1>", "<ipython-input-3-a1>", True),
    ],
)
def test_a_path_shows_whose_code_it_is(path: str, short: str | None, is_of_program: bool) -> None:
    written = short_path(path, FOLDER)
    assert written == (short or "torch/nn/functional.py")
    assert parse_frame(f"step ({written}:7)").is_of_program == is_of_program


def test_a_long_path_is_cut_and_stays_the_programs() -> None:
    written = short_path("/srv/" + "x" * 500 + "/train.py", FOLDER)
    assert len(written) == LONGEST_LABEL and written.endswith("/train.py")
    assert parse_frame(f"f ({written}:1)").is_of_program


def test_the_standard_library_of_this_interpreter_is_recognized() -> None:
    path = short_path(str(Path(threading_file())), "/nowhere/")
    assert path == "threading.py"


def threading_file() -> str:
    """Return the file of a module of the standard library."""
    return str(sys.modules["threading"].__file__)


@pytest.mark.parametrize(
    ("label", "frame"),
    [
        ("Env.step (./program.py:7)", Frame("Env.step", "./program.py", 7)),
        ("<lambda> (a (copy).py:12)", Frame("<lambda>", "a (copy).py", 12)),
        ("read (native)", Frame("read", "native", 0)),
        ("idle", Frame("idle", "", 0)),
    ],
)
def test_a_label_has_function_file_and_line(label: str, frame: Frame) -> None:
    assert parse_frame(label) == frame


@pytest.mark.parametrize(
    ("label", "frame"),
    [
        ("f (./a.py:3)", Frame("f", "./a.py", 3)),
        ("f (a (b).py:3)", Frame("f", "a (b).py", 3)),
        ("f (native)", Frame("f", "native", 0)),
        ("f (C:\\a.py)", Frame("f", "C:\\a.py", 0)),
        ("f (a.py:" + "9" * 5000 + ")", Frame("f", "a.py:" + "9" * 5000, 0)),
        ("f", Frame("f", "", 0)),
        ("f (", Frame("f (", "", 0)),
    ],
)
def test_a_label_is_divided_into_function_file_and_line(label: str, frame: Frame) -> None:
    assert parse_frame(label) == frame


def test_a_label_of_a_megabyte_is_read_in_linear_time() -> None:
    """With a search from each parenthesis this would take hours."""
    assert parse_frame("f" + " (" * 500_000).file == ""
