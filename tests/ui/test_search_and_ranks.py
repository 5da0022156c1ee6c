"""The report in a real browser: the search for frames in the stacks, and the rows of the ranks."""

from pathlib import Path
from typing import Any

import msgspec

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import BudgetEntry, ProcessBudget
from perfscope.ui.html.rank_rows import rank_rows
from tests.ui.sample_traces import input_bound

FIELD = "document.querySelector('.search input[data-chart=stacks-main]')"
COLORS = "return document.getElementById('stacks-main').data[0].marker.colors"


def search(page: Any, words: str) -> str:
    """Type into the search field, and return the text next to it."""
    page.execute_script(
        f"{FIELD}.value = arguments[0]; {FIELD}.dispatchEvent(new Event('input'))", words
    )
    output = f"return {FIELD}.parentElement.querySelector('output').textContent"
    return str(page.execute_script(output))


def test_a_search_highlights_the_frame_and_shows_its_share(page: Any) -> None:
    before = page.execute_script(COLORS)
    found = search(page, "EVIL.py")
    assert "1 frame" in found and "100 %" in found
    lit = page.execute_script(COLORS)
    assert [old == new for old, new in zip(before, lit, strict=True)].count(False) == 1
    assert search(page, "no such function") == "no match"
    assert search(page, "") == "" and page.execute_script(COLORS) == before


def test_the_time_of_a_match_inside_a_match_counts_once(page: Any) -> None:
    assert search(page, ".py:1").startswith("2 frames, 100 %")


def test_found_frames_stay_highlighted_in_the_other_theme(page: Any) -> None:
    search(page, "evil.py")
    lit = page.execute_script(COLORS)
    page.execute_script(
        "window.redrawn = 0; document.addEventListener('drawn', () => { window.redrawn += 1 })"
    )
    page.execute_script("document.getElementById('theme').click()")
    page.execute_async_script(
        "const done = arguments[0]; (function look() { redrawn ? done() : setTimeout(look, 20) })()"
    )
    assert page.execute_script(COLORS) == lit


def test_typing_a_letter_does_not_move_the_timeline(page: Any) -> None:
    seen = (
        "const { view } = document.getElementById('timeline').timeline; return [view.from, view.to]"
    )
    page.execute_script("document.getElementById('timeline').timeline.setView(1e8, 2e8)")
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
