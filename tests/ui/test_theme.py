"""The palettes: every category has a color, and text on every fill is readable."""

import pytest

from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.ui.theme import DARK, LIGHT, Palette, contrast, ink

PALETTES = pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])


@PALETTES
def test_every_category_has_a_color(palette: Palette) -> None:
    assert set(CATEGORY_IDS) <= set(palette.category)


@PALETTES
def test_ink_on_every_fill_has_a_contrast_of_at_least_four_and_a_half(palette: Palette) -> None:
    assert {
        name: contrast(ink(fill), fill)
        for name, fill in palette.category.items()
        if contrast(ink(fill), fill) < 4.5
    } == {}


@PALETTES
def test_text_can_be_read_on_cards_and_page(palette: Palette) -> None:
    for background in (palette.bg, palette.surface):
        assert contrast(palette.text, background) >= 7
        assert contrast(palette.muted, background) >= 4.5
        assert contrast(palette.accent, background) >= 4.5


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
