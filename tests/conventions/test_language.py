"""Language, names and layout: violations that remain may only become fewer."""

import pytest

from tests.conventions.banned_words import BANNED
from tests.conventions.remaining import lowered, read_remaining
from tests.conventions.violations import CHECKS, Violation, banned_in, count_by_package

SHOWN = 40
LOWER = "run `python -m tests.conventions.remaining`"


@pytest.mark.parametrize("name", CHECKS)
def test_no_package_has_more_violations_than_remain(name: str) -> None:
    found = sorted(CHECKS[name]())
    allowed, present = read_remaining()[name], count_by_package(found)
    worse = {package for package, count in present.items() if count > allowed.get(package, 0)}
    places = [str(violation) for violation in found if violation.package in worse]
    assert not worse, f"{name}: more than remain\n" + "\n".join(places[:SHOWN])
    assert allowed == present, f"{name}: fewer than remain; {LOWER}"


def test_numbers_are_never_raised() -> None:
    assert lowered({"a": 3, "b": 2, "c": 1}, {"a": 5, "b": 1, "d": 4}) == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    "text",
    [
        "as the driver told us",
        "26.8 ms a step",
        "it looks ten looks a second",
        "every number is a door",
        "The dearest run",
        "an ill\nprogram",
        "it stands still",
        "a pipe is no file",
        "the colours",
        "synchronising",
    ],
)
def test_banned_words_are_found(text: str) -> None:
    assert list(banned_in("a.md", 1, text))


@pytest.mark.parametrize(
    "text",
    [
        "there is no driver",
        "the run is no longer recorded",
        "it is no larger than 5 MB",
        "MFU stands for model FLOPs utilization",
        "a stand-in driver",
        "ten times a second",
        "a still image, skills and indoors",
        "two analyses",
        "color, optimizer, synchronization",
    ],
)
def test_plain_english_is_not_banned(text: str) -> None:
    assert list(banned_in("a.md", 1, text)) == []


def test_a_violation_names_its_line_and_package() -> None:
    (violation,) = banned_in("perfscope/agent/probe/core.py", 5, "first\nthen told")
    assert violation.line == 6 and violation.package == "perfscope/agent/probe"
    assert Violation("README.md", 1, "").package == "."
    assert Violation("tests/agent/entry/test_signals.py", 1, "").package == "tests/agent"


def test_every_banned_word_has_a_replacement() -> None:
    assert all(banned.instead for banned in BANNED)
