"""Sample workloads: each declares its bottleneck with known ids, and has `--fix` to remove it."""

import re
from pathlib import Path

import pytest

from benchmarks.samples import DECLARED
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from tests.conventions.sources import last_name, python_files

SHARED = {"__init__", "demo", "images", "training", "training_on_device"} | {
    "batch_server",
    "model",
    "poisson_load",
}
SAMPLES = {
    name: text
    for name, text in python_files("sample_workloads").items()
    if Path(name).stem not in SHARED
}
"""Path of a sample -> its text."""
NEED_A_DEVICE = {
    "low-occupancy",
    "exposed-communication",
    "small-collectives",
    "straggler",
    "memory-pressure",
    "fragmentation",
    "profiler-overhead",
    "devices-in-turn",
    "nvlink-saturated",
    "network-saturated",
    "link-errors",
}
NEVER_ENDS = {"hang"}
"""A program that hangs has no steps to compare: benchmarks/accuracy has cases of it."""
NEED_COUNTERS = {"device_counters", "device_processes", "network_counters", "engine_metrics"}
"""Tables read from the driver, the network or an engine: tests/device_counters and tests/serving
have a scenario for each finding.
"""


def declared(name: str) -> tuple[str, str | None, str | None]:
    """Return verdict, cause and second finding that the first line of a sample declares."""
    match = DECLARED.match(SAMPLES[name].split("\n", 1)[0])
    assert match, f"{name}: the first line must match {DECLARED.pattern}"
    verdict, cause, second = match.groups()
    return verdict, cause, second


def test_there_are_at_least_ten_sample_workloads() -> None:
    assert len(SAMPLES) >= 10


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_line_declares_a_known_verdict(name: str) -> None:
    verdict, cause, second = declared(name)
    known = {rule.id for rule in FINDINGS} | {"healthy"}
    assert {verdict, second} - {None} <= known
    assert (cause in {last_name(module).replace("_", "-") for module in CAUSES}) == (
        verdict == "input-bound"
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_named_after_what_it_declares(name: str) -> None:
    names = [part.replace("-", "_") for part in declared(name) if part is not None]
    assert Path(name).stem.startswith(tuple(names))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_bottleneck_has_a_fix(name: str) -> None:
    verdict, _, second = declared(name)
    has_bottleneck = verdict != "healthy" or second is not None
    assert not has_bottleneck or re.search(r"\bargs\.fix\b", SAMPLES[name])


@pytest.mark.parametrize(
    "finding",
    [
        rule.id
        for rule in FINDINGS
        if rule.id not in NEED_A_DEVICE | NEVER_ENDS and not NEED_COUNTERS & set(rule.needs)
    ],
)
def test_every_finding_that_needs_no_gpu_has_a_sample(finding: str) -> None:
    assert any(finding in (declared(name)[0], declared(name)[2]) for name in SAMPLES)


@pytest.mark.parametrize("cause", CAUSES, ids=last_name)
def test_every_cause_has_a_sample(cause: object) -> None:
    cause_id = last_name(cause).replace("_", "-")
    assert any(declared(name)[1] == cause_id for name in SAMPLES)
