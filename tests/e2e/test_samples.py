"""Sample workloads that run and are attached to: the verdict is the one that their first line
declares.

These four need only two cores; `make samples` runs all, with their bottleneck and fixed, and
compares the predicted with the measured times.
"""

import argparse

import pytest

import benchmarks.samples
from benchmarks.samples import calibrate_for_sample, find_samples, run_sample, verdict_of

CHOSEN = ("decode_bound_full_cores", "gc_pause", "in_process_loading", "too_few_workers")


@pytest.mark.parametrize("name", CHOSEN)
def test_the_verdict_of_a_sample_is_the_declared_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks.samples, "WARM_UP_S", 2.0)
    [sample] = [each for each in find_samples() if each.name == name]
    with calibrate_for_sample(sample):
        seen = run_sample(sample, 1, argparse.Namespace(duration=6.0, own=0.0, keep=None))
    assert seen is not None
    answer = seen.answer
    assert verdict_of(answer) == sample.id + (f"/{sample.cause}" if sample.cause else "")
    steps, each_ms = seen.whole_meter.T
    measured_ms = (steps * each_ms).sum() / steps.sum()
    assert answer["steps"]["mean_ms"] == pytest.approx(measured_ms, rel=0.5)
    assert sum(entry["share"] for entry in answer["time_budget"]) == pytest.approx(1.0)
