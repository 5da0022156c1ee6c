"""The textures of the budget categories, which distinguish them without color."""

from itertools import combinations

from perfscope.analyzer.categories import CATEGORY, CATEGORY_IDS
from perfscope.ui.figures.hatch import hatch
from perfscope.ui.theme import DARK, LIGHT, texture


def test_waits_are_striped_and_categories_that_combine_two_are_dotted() -> None:
    striped = [name for name in CATEGORY_IDS if texture(name) == "wait"]
    assert striped == [name for name in CATEGORY_IDS if CATEGORY[name].is_wait]
    names = ("input-wait", "compute-or-host", "device-compute")
    assert [hatch(name)["shape"] for name in names] == ["/", ".", ""]


def test_two_categories_of_one_color_differ_in_texture() -> None:
    for palette in (LIGHT, DARK):
        same = [
            (name, other)
            for name, other in combinations(CATEGORY_IDS, 2)
            if palette.category[name] == palette.category[other] and texture(name) == texture(other)
        ]
        assert same == []
