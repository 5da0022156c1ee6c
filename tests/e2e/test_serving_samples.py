"""A server under load that is attached to: the declared verdict, the parts of its requests, and
predictions; no finding on its requests without the bottleneck.
"""

import pytest

from benchmarks.samples import RunningSample, attach

NAME = "serving.batching_delay"


@pytest.mark.parametrize("arguments", [(), ("--fix",)], ids=["slow", "fixed"])
def test_a_batching_window_is_found_in_a_running_server(arguments: tuple[str, ...]) -> None:
    running = RunningSample(NAME, 1, *arguments)
    try:
        answer = attach(running.process.pid, 6.0, None)
    finally:
        running.end()
    requests, findings = answer["requests"], answer["findings"]
    assert answer["workload"] == "server" and answer["failed"] == []
    assert requests["count"] > 100
    stages = {stage["stage"]: stage["ms"] for stage in requests["stages"]}
    assert list(stages) == ["queue", "batching", "model", "after"]
    on_requests = [each for each in findings if each["scope"] == "requests"]
    if arguments:
        assert "batching-delay" not in [each["id"] for each in on_requests]
        return
    assert [each["id"] for each in on_requests] == ["batching-delay"]
    assert answer["verdict"]["id"] == "batching-delay"
    assert stages["batching"] > 10.0
    window = next(each for each in on_requests[0]["actions"])
    assert window["id"] == "shorten-batching-window"
    if window["predictions"]:  # a busy machine can keep the replay from reproducing the tail
        p50 = next(each for each in window["predictions"] if each["metric"] == "e2e_p50_ms")
        assert p50["likely"] < 0.7 * p50["before"]
