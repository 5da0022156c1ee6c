"""Sample workloads, started plainly and attached to from outside: the verdict is what the program's
first line declares.

Four of them, chosen to hold on two cores; `make samples` does all, ill and fixed, and holds the
predictions against the clock.
"""

import argparse

import pytest

import benchmarks.samples
from benchmarks.samples import calibrated, find_samples, run_sample, verdict_of

CHOSEN = ("decode_full_cores", "gc_pause", "in_process_loading", "too_few_workers")


@pytest.mark.parametrize("name", CHOSEN)
def test_the_verdict_is_the_declared_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.samples, "WARM_UP_S", 2.0)
    [sample] = [each for each in find_samples() if each.name == name]
    with calibrated(sample):
        seen = run_sample(sample, 1, argparse.Namespace(duration=6.0, own=0.0, keep=None))
    assert seen is not None
    answer = seen.answer
    assert verdict_of(answer) == sample.id + (f"/{sample.cause}" if sample.cause else "")
    steps, each_ms = seen.whole_meter.T
    assert answer["steps"]["mean_ms"] == pytest.approx(
        (steps * each_ms).sum() / steps.sum(), rel=0.5
    )
    assert sum(one["share"] for one in answer["time_budget"]) == pytest.approx(1.0)
