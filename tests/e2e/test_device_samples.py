"""Sample workloads for accelerators on the simulated one, attached to from outside.

`python -m tests.accelerator.long_device_samples` runs all of them (`make test-long`).
"""

from pathlib import Path

import pytest

from tests.accelerator.workloads import (
    attach_with_driver,
    budget_differences,
    running_on_device,
    verdict_differences,
)

CHOSEN = ("blocking_copies", "hidden_waits", "prefetched")


@pytest.mark.parametrize("name", CHOSEN)
def test_verdict_and_budget_are_those_of_the_device(name: str, tmp_path: Path) -> None:
    with running_on_device(name, tmp_path) as run:
        answer, truth = attach_with_driver(run)
    assert truth.steps > 20
    assert [*verdict_differences(name, answer), *budget_differences(answer, truth)] == []
