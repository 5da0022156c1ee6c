"""Colour is never the only sign."""

from itertools import combinations

from perfscope.analyzer.categories import CATEGORY, CATEGORY_IDS
from perfscope.ui.figures.budget_over_steps import hatch
from perfscope.ui.theme import DARK, LIGHT, texture


def test_waits_are_striped_and_what_was_not_told_apart_is_dotted() -> None:
    striped = [name for name in CATEGORY_IDS if texture(name) == "wait"]
    assert striped == [name for name in CATEGORY_IDS if CATEGORY[name].is_wait]
    assert [
        hatch(name)["shape"] for name in ("input-wait", "compute-or-host", "device-compute")
    ] == ["/", ".", ""]


def test_two_categories_of_one_colour_differ_in_texture() -> None:
    for palette in (LIGHT, DARK):
        same = [
            (one, other)
            for one, other in combinations(CATEGORY_IDS, 2)
            if palette.category[one] == palette.category[other] and texture(one) == texture(other)
        ]
        assert same == []
