"""Every diagnosis that a test of the analyzer makes is checked for physical invariants."""

from collections.abc import Callable
from typing import Any

import pytest

from perfscope.analyzer import diagnose
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.summary.run import Run

ROUNDING = 1e-6
MEASURED_CORES = 1.05
"""Counters of processes and the number of cores are read at different instants."""


@pytest.fixture(autouse=True)
def checked_diagnoses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the invariants of every diagnosis that `diagnose_trace` returns."""
    original: Callable[..., Diagnosis] = diagnose.assemble

    def assemble_and_check(run: Run, *stages: Any) -> Diagnosis:
        answer = original(run, *stages)
        check_run_budget(answer)
        check_time_budgets(answer)
        check_findings_and_cores(answer, run)
        return answer

    monkeypatch.setattr(diagnose, "assemble", assemble_and_check)


def check_run_budget(answer: Diagnosis) -> None:
    """Check that the phases are not negative and fill the span."""
    phases = answer.run_budget
    if not phases:
        return
    assert all(phase.seconds >= 0.0 and phase.share >= 0.0 for phase in phases)
    assert len({phase.phase for phase in phases}) == len(phases)
    assert sum(phase.share for phase in phases) == pytest.approx(1.0, abs=1e-3)
    # the span is rounded to milliseconds
    assert sum(phase.seconds for phase in phases) == pytest.approx(
        answer.span_s, rel=1e-3, abs=1e-3
    )


def check_time_budgets(answer: Diagnosis) -> None:
    """Check that the categories of each budget are not negative and sum to one."""
    budgets = [answer.time_budget, *(entry.time_budget for entry in answer.per_process)]
    for budget in budgets:
        assert all(part.seconds >= 0.0 and part.share >= 0.0 for part in budget)
        assert not budget or sum(part.share for part in budget) == pytest.approx(1.0, abs=1e-2)


def check_findings_and_cores(answer: Diagnosis, run: Run) -> None:
    """Check that shares are between 0 and 1, and that no more cores are busy than are usable."""
    for finding in answer.findings:
        assert finding.lost_s >= 0.0
        assert 0.0 <= finding.share <= 1.0 + ROUNDING
        assert 0.0 <= finding.share_of_run <= 1.0 + ROUNDING
    assert 0.0 <= answer.verdict.confidence <= 1.0
    assert 0.0 <= answer.bound_by.confidence <= 1.0
    load = run.trace.fact(host_load)
    if load.tree_cores is not None and load.usable_cores is not None:
        assert load.tree_cores <= MEASURED_CORES * load.usable_cores
