"""A step's point opens the timeline on that step."""

from typing import Any

CLICK = "document.getElementById('steps').emit('plotly_click', { points: [{ x: arguments[0], y: arguments[1] }] })"
SHAPES = "return (document.getElementById('workers').layout.shapes || []).map((one) => [one.x0, one.x1])"
SAID = "return document.querySelector('#section-steps output').textContent"


def test_a_click_on_a_step_shows_it_on_the_timeline(page: Any) -> None:
    page.execute_script(CLICK, 0.25, 10)
    assert page.execute_script(SHAPES) == [[0.25, 0.26]]
    assert page.execute_script(SAID) == ""


def test_a_step_that_the_page_does_not_hold_is_said_so(page: Any) -> None:
    page.execute_script(CLICK, 1000, 10)
    assert page.execute_script(SHAPES) == []
    assert page.execute_script(SAID) == "The timeline of this page does not hold that step."


def test_a_real_click_reaches_the_timeline(page: Any) -> None:
    from selenium.webdriver import ActionChains

    place = (
        "document.getElementById('section-steps').scrollIntoView({ behavior: 'instant' });"
        "const chart = document.getElementById('steps'), axes = chart._fullLayout, point = chart._fullData[0];"
        "const box = chart.getBoundingClientRect(), at = 30;"
        "const across = axes.xaxis._offset + axes.xaxis.d2p(point.x[at]);"
        "const down = axes.yaxis._offset + axes.yaxis.d2p(point.y[at]);"
        "return [box.left + across, box.top + down]"
    )
    left, top = page.execute_script(place)
    chain = ActionChains(page)
    chain.w3c_actions.pointer_action.move_to_location(round(left), round(top))
    chain.w3c_actions.pointer_action.click()
    chain.perform()
    (shape,) = page.execute_script(SHAPES)
    assert shape[1] - shape[0] > 0.005
