"""Clicks on the point of a step, which show the step on the timeline."""

from typing import Any

import pytest

from tests.running import until

CLICK = (
    "document.getElementById('steps').emit('plotly_click', { points: [{ x: arguments[0], y:"
    " arguments[1] }] })"
)
SHOWN = (
    "const { shown } = document.getElementById('timeline').timeline; return shown ? [shown.from,"
    " shown.to] : []"
)


def test_a_click_event_of_a_step_shows_it_on_the_timeline(page: Any) -> None:
    page.execute_script(CLICK, 0.25, 10)
    assert page.execute_script(SHOWN) == pytest.approx([0.25e9, 0.26e9])
    view = (
        "const { view } = document.getElementById('timeline').timeline; return [view.from, view.to]"
    )
    until(lambda: page.execute_script(view)[1] - page.execute_script(view)[0] < 0.03e9)
    begin, end = page.execute_script(view)
    assert begin < 0.25e9 and end > 0.26e9


def test_a_click_of_the_mouse_on_a_step_shows_it_on_the_timeline(page: Any) -> None:
    from selenium.webdriver import ActionChains

    place = (
        "document.getElementById('section-steps').scrollIntoView({ behavior: 'instant' });const"
        " chart = document.getElementById('steps'), axes = chart._fullLayout, point ="
        " chart._fullData[0];const box = chart.getBoundingClientRect(), at = 30;const across ="
        " axes.xaxis._offset + axes.xaxis.d2p(point.x[at]);const down = axes.yaxis._offset +"
        " axes.yaxis.d2p(point.y[at]);return [box.left + across, box.top + down]"
    )
    left, top = page.execute_script(place)
    chain = ActionChains(page)
    chain.w3c_actions.pointer_action.move_to_location(round(left), round(top))
    chain.w3c_actions.pointer_action.click()
    chain.perform()
    begin, end = page.execute_script(SHOWN)
    assert end - begin > 0.005e9
