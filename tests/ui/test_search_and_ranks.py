"""On the page, in a real browser: looking for frames in the stacks, and the ranks beside each
other.
"""

from pathlib import Path
from typing import Any

import msgspec

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import BudgetEntry, ProcessBudget
from perfscope.ui.html.rank_rows import rank_rows
from tests.ui.runs import input_bound

FIELD = "document.querySelector('.search input[data-chart=stacks-main]')"
COLOURS = "return document.getElementById('stacks-main').data[0].marker.colors"


def look_for(page: Any, words: str) -> str:
    """Type into the field as a reader would; what is said beside it."""
    page.execute_script(
        f"{FIELD}.value = arguments[0]; {FIELD}.dispatchEvent(new Event('input'))", words
    )
    said: str = page.execute_script(
        f"return {FIELD}.parentElement.querySelector('output').textContent"
    )
    return said


def test_a_frame_is_found_and_its_share_told(page: Any) -> None:
    before = page.execute_script(COLOURS)
    assert look_for(page, "EVIL.py") == "1 frame, 100 % of the time"
    lit = page.execute_script(COLOURS)
    assert [old == new for old, new in zip(before, lit, strict=True)].count(False) == 1
    assert look_for(page, "no such function") == "no match"
    assert look_for(page, "") == "" and page.execute_script(COLOURS) == before


def test_a_match_below_a_match_counts_once(page: Any) -> None:
    assert look_for(page, ".py:1") == "2 frames, 100 % of the time"


def test_what_was_looked_for_stays_lit_in_the_other_theme(page: Any) -> None:
    look_for(page, "evil.py")
    lit = page.execute_script(COLOURS)
    page.execute_script(
        "window.redrawn = 0; document.addEventListener('drawn', () => { window.redrawn += 1 })"
    )
    page.execute_script("document.getElementById('theme').click()")
    page.execute_async_script(
        "const done = arguments[0]; (function look() { redrawn ? done() : setTimeout(look, 20) })()"
    )
    assert page.execute_script(COLOURS) == lit


def test_typing_a_letter_does_not_move_the_timeline(page: Any) -> None:
    seen = (
        "const { view } = document.getElementById('timeline').timeline; return [view.from, view.to]"
    )
    page.execute_script("document.getElementById('timeline').timeline.look(1e8, 2e8)")
    before = page.execute_script(seen)
    press = "new KeyboardEvent('keydown', { key: 'd', bubbles: true })"
    page.execute_script(f"{FIELD}.dispatchEvent({press})")
    assert page.execute_script(seen) == before
    page.execute_script(f"document.body.dispatchEvent({press})")
    assert page.execute_script(seen) != before


def test_every_rank_has_its_row(tmp_path: Path) -> None:
    halves = [BudgetEntry("input-wait", 1.0, 0.5), BudgetEntry("compute-or-host", 1.0, 0.5)]
    alone = diagnose_trace(input_bound())
    both = msgspec.structs.replace(
        alone,
        per_process=[ProcessBudget(0, 0, halves), ProcessBudget(1, 1, [])],
        time_budget=halves,
        budget_process=0,
    )
    assert rank_rows(alone) == ""
    rows = rank_rows(both)
    assert rows.count("<tr>") == 2 and "rank 0 (verdict)" in rows
    assert "input wait 50 %, compute or host 50 %" in rows and "nothing was measured" in rows
