"""Sample workloads declare what they are ill of, in words that perfscope knows, and can be
healed.
"""

import re
from pathlib import Path

import pytest

from benchmarks.samples import DECLARED
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from tests.conventions.sources import last_name, python_files

SHARED = {"__init__", "demo", "images", "training"}
SAMPLES = {
    stem: text
    for name, text in python_files("sample_workloads").items()
    if (stem := Path(name).stem) not in SHARED
}


def test_there_are_at_least_ten() -> None:
    assert len(SAMPLES) >= 10


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_line_declares_a_verdict_there_is(name: str) -> None:
    declared = DECLARED.match(SAMPLES[name].split("\n", 1)[0])
    assert declared, 'the first line reads """ill: FINDING[/CAUSE][ + FINDING]. Why."""'
    verdict, cause, also = declared.groups()
    known = {rule.id for rule in FINDINGS} | {"healthy"}
    assert {verdict, also} - {None} <= known
    assert (cause in {one.CAUSE for one in CAUSES}) == (verdict == "input-bound")


@pytest.mark.parametrize(
    "name", [name for name, text in SAMPLES.items() if not text.startswith('"""ill: healthy. ')]
)
def test_an_ill_one_can_be_healed(name: str) -> None:
    assert re.search(r"\bargs\.fix\b", SAMPLES[name])


NEED_A_DEVICE = (
    *(
        "host-sync",
        "low-occupancy",
        "exposed-communication",
        "small-collectives",
        "straggler",
        "exposed-copy",
    ),
    *(
        "pageable-copy",
        "allocator-retries",
        "memory-pressure",
        "fragmentation",
        "profiler-overhead",
    ),
    *("nvlink-saturated", "network-saturated", "link-errors"),
)


# Read from the driver or the network: tests/devices has a scenario for each.
NEED_COUNTERS = {"device_counters", "device_processes", "network_counters"}


@pytest.mark.parametrize(
    "finding",
    [
        rule.id.replace("-", "_")
        for rule in FINDINGS
        if rule.id not in NEED_A_DEVICE and not NEED_COUNTERS & set(rule.needs)
    ],
)
def test_every_finding_that_needs_no_gpu_has_a_sample(finding: str) -> None:
    assert any(
        f'"""ill: {finding.replace("_", "-")}' in text or f" + {finding.replace('_', '-')}." in text
        for text in SAMPLES.values()
    )


@pytest.mark.parametrize("cause", CAUSES, ids=last_name)
def test_every_cause_has_a_sample(cause: object) -> None:
    assert any(
        f"input-bound/{getattr(cause, 'CAUSE', '')}." in text.split("\n", 1)[0]
        for text in SAMPLES.values()
    )
