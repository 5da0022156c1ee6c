"""One recording of each scenario for all tests of devices."""

from collections.abc import Callable
from pathlib import Path

import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.devices.recordings import SCENARIOS, recorded


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return recorded(tmp_path_factory.mktemp("devices"), tuple(SCENARIOS))


@pytest.fixture(scope="session")
def trace_of(runs: dict[str, Path]) -> Callable[[str], Trace]:
    """The Trace of a scenario's recording."""
    traces: dict[str, Trace] = {}

    def get(name: str) -> Trace:
        if name not in traces:
            traces[name] = load_trace(runs[name])
        return traces[name]

    return get
