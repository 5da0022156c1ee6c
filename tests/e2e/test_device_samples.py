"""Sample workloads for accelerators on the simulated one, attached to from outside.

`python -m tests.accelerator.long_device_samples` runs all of them (`make test-long`).
"""

from pathlib import Path

import pytest

from tests.accelerator.workloads import (
    attach_with_driver,
    budget_differences,
    declared_verdict,
    running_on_device,
    verdict_differences,
)

CHOSEN = ("hidden_waits", "prefetched")
BUSY_MACHINE = "cpu-oversubscription"
"""Where other jobs take the cores the device really waits for the host: that is a right verdict."""


@pytest.mark.parametrize("name", CHOSEN)
def test_verdict_and_budget_are_those_of_the_device(name: str, tmp_path: Path) -> None:
    with running_on_device(name, tmp_path) as run:
        answer, truth = attach_with_driver(run)
    found = {finding["id"] for finding in answer["findings"]}
    if BUSY_MACHINE in found:
        pytest.skip("other jobs took the cores of this machine meanwhile")
    assert truth.steps > 20
    assert [*verdict_differences(name, answer), *budget_differences(answer, truth)] == []
    assert (declared_verdict(name)[0] == "healthy") == (not found)
