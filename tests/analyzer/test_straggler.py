"""The straggler: the slow rank, the time that the others wait for it, and no rank where none is
slow.
"""

from pathlib import Path

import pytest

from perfscope.analyzer.check_findings import outcome
from perfscope.analyzer.communication import straggler
from perfscope.analyzer.communication.rank_skew import rank_skew, slower_kernels
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import NotChecked
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.load import load_trace
from tests.traces.generated_ranks import generated_ranks


def test_the_slow_rank_is_named_and_costs_what_the_others_wait(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path / "job", ranks=4, slow=2, steps=12)
    trace = load_trace(tmp_path / "job")
    found = straggler.detect(trace, LIMITS)
    assert found is not None and found.processes == [2]
    others = [waited for rank, waited in enumerate(made.waited_us) if rank != 2]
    assert found.lost_s == pytest.approx(sum(others) / 3 / 1e6, rel=0.02)
    longest = found.evidence[0]
    assert longest.process != 2 and longest.lane == "stream 20"
    assert longest.start_ns is not None and longest.end_ns is not None
    assert longest.start_ns < longest.end_ns
    assert "20 % longer" in found.explanation
    assert any("ampere_sgemm" in evidence.text for evidence in found.evidence)
    diagnosis = diagnose_trace(trace)
    assert diagnosis.verdict.id == "straggler" and diagnosis.budget_rank == 2
    assert not diagnosis.failed
    assert len(diagnosis.per_process) == 4


def test_ranks_of_equal_speed_have_no_straggler(tmp_path: Path) -> None:
    generated_ranks(tmp_path / "job", ranks=4, slow=-1, steps=12)
    trace = load_trace(tmp_path / "job")
    assert straggler.not_applicable(trace, LIMITS) is None
    assert straggler.detect(trace, LIMITS) is None


def test_a_straggler_is_not_checked_with_one_rank_alone(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path / "job", ranks=2)
    not_checked = outcome(straggler.RULE, load_trace(made.paths[0]), LIMITS)
    assert isinstance(not_checked, NotChecked) and not_checked.group == "one-process"


def test_the_ranks_cause_as_much_waiting_as_they_wait(tmp_path: Path) -> None:
    generated_ranks(tmp_path / "job", ranks=3, slow=1)
    trace = load_trace(tmp_path / "job")
    skew = trace.fact(rank_skew)
    assert skew["rank"].tolist() == [0, 1, 2] and skew["last"].sum() == skew["matched"].max()
    assert skew["caused_ns"].sum() == pytest.approx(skew["waited_ns"].sum(), abs=10)
    slower = slower_kernels(trace, 1)
    assert slower["name"].tolist() == ["ampere_sgemm_128x64_tn"]
    assert slower["own_ns"][0] / slower["usual_ns"][0] == pytest.approx(1.2, abs=0.03)
