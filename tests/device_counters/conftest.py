"""The recordings of the scenarios, which all tests of devices share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.device_counters.recordings import record_scenarios


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the run folder of each scenario."""
    return record_scenarios(tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="session")
def trace_of(runs: dict[str, Path]) -> Callable[[str], Trace]:
    """Return trace_of(scenario), which loads the recording of a scenario once."""
    traces: dict[str, Trace] = {}

    def get(name: str) -> Trace:
        if name not in traces:
            traces[name] = load_trace(runs[name])
        return traces[name]

    return get
