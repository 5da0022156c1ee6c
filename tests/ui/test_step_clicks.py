"""The chart of steps in a browser: a click, a selection and the arrow keys."""

from typing import Any

import pytest

from tests.target_processes import until
from tests.ui.browsing import shown_text

CHART = "document.querySelector('.step-chart')"
SHOWN = (
    "const { shown } = document.getElementById('timeline').timeline; return shown ? [shown.from,"
    " shown.to] : []"
)
PLACE = (
    f"const chart = {CHART}; chart.scrollIntoView({{ behavior: 'instant', block: 'center' }});"
    " const box = chart.querySelector('svg').getBoundingClientRect();"
    " const { columns } = JSON.parse(chart.dataset.steps);"
    " const inner = box.width - 58 - 112;"
    " const at = (index) => box.left + 58 + (inner * (index + 0.5)) / columns.length;"
    " const own = ({ from, to, first }) => [from, to, first];"
    " return [at(arguments[0]), at(arguments[1]), box.top + box.height / 2,"
    " own(columns[arguments[0]]), own(columns[arguments[1]])]"
)


def drag(browser: Any, left: float, right: float, top: float) -> None:
    """Press the button at one place and release it at another."""
    from selenium.webdriver import ActionChains

    chain = ActionChains(browser)
    pointer = chain.w3c_actions.pointer_action
    pointer.move_to_location(round(left), round(top))
    pointer.pointer_down()
    if right != left:
        pointer.move_to_location(round((left + right) / 2), round(top))
    pointer.move_to_location(round(right), round(top))
    pointer.pointer_up()
    chain.perform()


def test_a_click_on_a_step_shows_it_on_the_timeline(page: Any) -> None:
    left, _, top, (begin_s, end_s, _), _ = page.execute_script(PLACE, 30, 31)
    drag(page, left, left, top)
    assert page.execute_script(SHOWN) == pytest.approx([begin_s * 1e9, end_s * 1e9])
    view = (
        "const { view } = document.getElementById('timeline').timeline; return [view.from, view.to]"
    )
    until(lambda: page.execute_script(view)[1] - page.execute_script(view)[0] < 0.03e9)


def test_steps_are_selected_by_dragging_and_shown_together(page: Any) -> None:
    left, right, top, first, last = page.execute_script(PLACE, 12, 19)
    drag(page, left, right, top)
    words = shown_text(page, ".step-words")
    assert str(first[2]) in words and str(last[2]) in words and " 8 steps" in words
    page.execute_script("document.querySelector('.step-words a').click()")
    assert page.execute_script(SHOWN) == pytest.approx([first[0] * 1e9, last[1] * 1e9])


def test_the_arrow_keys_move_between_steps_and_enter_opens_one(page: Any) -> None:
    from selenium.webdriver import Keys

    chart = page.find_element("css selector", ".step-chart")
    _, _, _, (begin_s, end_s, _), _ = page.execute_script(PLACE, 2, 3)
    chart.send_keys(Keys.ARROW_RIGHT * 4 + Keys.ARROW_LEFT + Keys.ENTER)
    assert page.execute_script(SHOWN) == pytest.approx([begin_s * 1e9, end_s * 1e9])
