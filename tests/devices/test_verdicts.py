"""Each scenario, through the real pynvml: the findings that it declares, and on a healthy one none."""

from collections.abc import Callable

import pytest

from perfscope.analyzer.engine import diagnose
from perfscope.traces.trace import Trace

FOUND = {
    "healthy-h100": set(),
    "pcie-downtrained": {"pcie-downtrained"},
}


@pytest.mark.parametrize("scenario", FOUND)
def test_a_scenario_gives_what_it_declares(scenario: str, trace_of: Callable[[str], Trace]) -> None:
    diagnosis = diagnose(trace_of(scenario))
    assert {one.id for one in diagnosis.findings} == FOUND[scenario]
    assert not diagnosis.failed
