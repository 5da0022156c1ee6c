"""README's terminal screen has the current layout; `make screens` writes it from a real run."""

import io
import re

from docs.make_screens import BEGIN, END, README
from perfscope.ui.terminal.diagnosis_view import show
from perfscope.ui.terminal.layout import SCREEN_LINES
from tests.ui.diagnoses import DIAGNOSIS

LABEL = re.compile(r"^  ([a-z][a-z, ]*?) {2,}", re.MULTILINE)
NOT_IN_EVERY_RUN = {"incomplete", "clocks"}


def labels(screen: str) -> set[str]:
    """Return the labels on the left of a screen."""
    return set(LABEL.findall(screen))


def test_the_screen_in_readme_has_the_labels_of_the_terminal() -> None:
    stream = io.StringIO()
    show(DIAGNOSIS, None, stream)
    expected = labels(stream.getvalue()) - NOT_IN_EVERY_RUN
    assert {"per step", "whole run", "recommended change", "bound by", "next"} <= expected
    text = README.read_text("utf-8")
    screen = text.partition(BEGIN)[2].partition(END)[0]
    assert labels(screen) - NOT_IN_EVERY_RUN == expected, "run `make screens`"
    lines = screen.splitlines()
    assert lines[0].startswith("$ perfscope attach ") and len(lines) <= SCREEN_LINES + 1
    assert max(map(len, lines)) <= 100


def test_every_picture_of_readme_exists() -> None:
    names = re.findall(r"\]\((docs/screens/[^)]*)\)", README.read_text("utf-8"))
    assert len(names) >= 2
    assert [name for name in names if not (README.parent / name).is_file()] == []
