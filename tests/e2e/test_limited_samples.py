"""Two samples that only a profiling window distinguishes: memory-bound and launch-bound."""

import pytest

from benchmarks.samples import RunningSample, attach


@pytest.mark.parametrize(
    ("name", "finding", "bound_by"),
    [
        ("memory_bound", "memory-bound", "memory-bandwidth"),
        ("launch_bound", "launch-bound", "host"),
    ],
)
def test_the_limit_of_a_running_program_is_found(name: str, finding: str, bound_by: str) -> None:
    running = RunningSample(name, 1)
    try:
        answer = attach(running.process.pid, 6.0, None)
    finally:
        running.end()
    found = {finding["id"]: finding for finding in answer["findings"]}
    assert finding in found, (answer["verdict"], answer["sources"])
    assert found[finding]["severity"] == "critical" and found[finding]["actions"]
    # Another job on the machine is a correct verdict, too.
    if "cpu-oversubscription" not in found:
        assert (answer["verdict"]["id"], answer["bound_by"]["id"]) == (finding, bound_by)
