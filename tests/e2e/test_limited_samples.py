"""Two samples that a window of the profiler tells apart: one waits for memory, one for its own
dispatching.
"""

import pytest

from benchmarks.samples import RunningSample, attach


@pytest.mark.parametrize(
    ("name", "finding", "bound_by"),
    [
        ("memory_bound", "memory-bound", "memory-bandwidth"),
        ("launch_bound", "launch-bound", "host"),
    ],
)
def test_what_limits_a_running_program_is_told(name: str, finding: str, bound_by: str) -> None:
    running = RunningSample(name, 1)
    try:
        answer = attach(running.process.pid, 6.0, None)
    finally:
        running.end()
    found = {one["id"]: one for one in answer["findings"]}
    assert finding in found, (answer["verdict"], answer["sources"])
    assert found[finding]["severity"] == "critical" and found[finding]["actions"]
    if (
        "cpu-oversubscription" not in found
    ):  # another job on the machine is another verdict, and a true one
        assert (answer["verdict"]["id"], answer["bound_by"]["id"]) == (finding, bound_by)
