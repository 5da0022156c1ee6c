"""Sample workloads for accelerators on the simulated one, attached to from outside.

`python -m tests.simulated_accelerator.long_device_samples` runs all of them (`make test-long`).
"""

from pathlib import Path

import pytest

from tests.simulated_accelerator.workloads import (
    attach_with_driver,
    budget_differences,
    declared_verdict,
    measured_peaks,
    running_on_device,
    verdict_differences,
    was_disturbed,
)

CHOSEN = ("too_few_workers_hidden_waits", "healthy_prefetch", "memory_bound_activation")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder with the measured peaks of the device."""
    return measured_peaks(tmp_path_factory.mktemp("peaks"))


@pytest.mark.parametrize("name", CHOSEN)
def test_verdict_and_budget_are_those_of_the_device(name: str, tmp_path: Path, cache: Path) -> None:
    with running_on_device(name, tmp_path) as run:
        answer, truth = attach_with_driver(run, cache=cache)
    found = {finding["id"] for finding in answer["findings"]}
    if was_disturbed(answer):
        pytest.skip("other jobs took the cores of this machine meanwhile")
    assert truth.steps > 20
    assert [*verdict_differences(name, answer), *budget_differences(answer, truth)] == []
    assert (declared_verdict(name)[0] == "healthy") == (not found)
