"""Language, names and layout."""

import pytest

from tests.conventions.banned_words import BANNED
from tests.conventions.violations import CHECKS, banned_in

SHOWN = 40


@pytest.mark.parametrize("name", CHECKS)
def test_no_convention_is_violated(name: str) -> None:
    places = [str(violation) for violation in sorted(CHECKS[name]())]
    assert not places, f"{name}\n" + "\n".join(places[:SHOWN])


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


def test_a_violation_names_its_line() -> None:
    (violation,) = banned_in("perfscope/agent/probe/core.py", 5, "first\nthen told")
    assert str(violation).startswith("perfscope/agent/probe/core.py:6: ")


def test_every_banned_word_has_a_replacement() -> None:
    assert all(banned.instead for banned in BANNED)
