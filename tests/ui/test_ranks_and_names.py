"""The terminal view of several ranks, and of a run with control characters in its name."""

import io

import msgspec
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, ProcessBudget
from perfscope.traces.trace import Trace
from perfscope.ui.terminal.diagnosis_view import show
from tests.build import MAIN, trace
from tests.ui.sample_traces import input_bound


def shown(diagnosis: Diagnosis, run: Trace | None = None) -> str:
    stream = io.StringIO()
    show(diagnosis, run, stream)
    return stream.getvalue()


def ranks(*waiting: float) -> Diagnosis:
    """Return a diagnosis with a rank for each share of waiting; the verdict is about the last."""
    each = [
        ProcessBudget(
            at,
            at,
            [
                BudgetEntry("input-wait", share, share),
                BudgetEntry("compute-or-host", 1 - share, 1 - share),
            ],
        )
        for at, share in enumerate(waiting)
    ]
    return msgspec.structs.replace(
        diagnose_trace(input_bound()),
        per_process=each,
        time_budget=each[-1].time_budget,
        budget_process=len(waiting) - 1,
    )


def test_every_rank_has_a_line_and_that_of_the_verdict_is_marked() -> None:
    lines = shown(ranks(0.25, 0.7)).splitlines()
    assert "  rank 0  ██████████████████▒▒▒▒▒▒  compute or host 75 %, input wait 25 %" in lines
    assert "> rank 1  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒███████  input wait 70 %, compute or host 30 %" in lines
    assert max(map(len, lines)) <= 100


def test_one_rank_has_no_line_and_of_many_the_others_are_counted() -> None:
    assert "rank" not in shown(ranks(0.5))
    text = shown(ranks(*[0.5] * 20))
    assert text.count("  rank ") == 5 and "> rank 19" in text and "14 more ranks" in text


@pytest.mark.parametrize(
    "name",
    ["\x1b[2J\x1b]0;owned\x07t.py", "back\x08\x08.py", "right\u202eto-left.py", "two\nlines.py"],
)
def test_control_characters_of_a_name_are_not_printed(name: str) -> None:
    run = trace(processes=[{**MAIN, "name": name}])
    text = shown(diagnose_trace(run), run)
    assert [letter for letter in text if not letter.isprintable() and letter != "\n"] == []
