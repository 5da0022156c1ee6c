"""The text of a line in an answer is that of its process, else that of another one."""

from typing import Any

from perfscope.analyzer.diagnosis import CodeCost, CodeLocation, Interval, Verdict
from perfscope.analyzer.summary.source_texts import with_source_texts
from tests.build import trace

SHARE = Interval(0.1, 0.2, 0.3)
ROWS: list[dict[str, Any]] = [
    {"process": 0, "file": "./train.py", "line": 7, "text": "loss.backward()"},
    {"process": 1, "file": "./train.py", "line": 7, "text": "other"},
    {"process": 1, "file": "/srv/data.py", "line": 3, "text": "return decode(path)"},
]


def verdict(where: CodeLocation) -> Verdict:
    """Return a verdict that names a line."""
    return Verdict("host-code", None, "", "", None, 1.0, where=where)


def text_at(file: str, line: int, process: int, **tables: Any) -> str | None:
    """Return the text that a verdict at this line gets."""
    place = CodeLocation("f", file, line, None, process, SHARE)
    where = with_source_texts(verdict(place), trace(**tables)).where
    assert where is not None
    return where.text


def test_a_line_has_the_text_of_its_process() -> None:
    assert text_at("train.py", 7, 0, source_lines=ROWS) == "loss.backward()"
    assert text_at("./train.py", 7, 1, source_lines=ROWS) == "other"
    assert text_at("/srv/data.py", 3, 0, source_lines=ROWS) == "return decode(path)"


def test_a_line_that_was_not_recorded_has_no_text() -> None:
    assert text_at("train.py", 8, 0, source_lines=ROWS) is None
    assert text_at("train.py", 7, 0) is None


def test_lines_below_others_have_their_texts_too() -> None:
    below = CodeCost("g", "/srv/data.py", 3, None, 0, "main", "steps", 1.0, 1.0, SHARE, [])
    above = CodeCost("f", "train.py", 7, None, 0, "main", "steps", 0.0, 1.0, SHARE, [below])
    filled = with_source_texts(above, trace(source_lines=ROWS))
    assert (filled.text, filled.children[0].text) == ("loss.backward()", "return decode(path)")
