"""The trend of resident memory."""

import pytest

from perfscope.analyzer.run.resources.memory_trend import MOST_INSTANTS, memory_trend, tree_memory
from tests.analyzer.loop import MS, Loop

DAY_S = 86_400
BYTES_PER_S = 1_000


def test_a_recording_of_days_takes_no_more_memory_than_one_of_an_hour() -> None:
    loop = Loop()
    loop.next(1).work().idle(DAY_S * 1e3)
    row = {"process": 0, "tid": -1, "name": "rss_bytes"}
    loop.tables["counters"] = [
        {**row, "ts": second * 1000 * MS, "value": 1e9 + BYTES_PER_S * second}
        for second in range(0, DAY_S, 60)
    ]
    trace = loop.trace()
    memory, trend = tree_memory(trace), memory_trend(trace)
    assert memory is not None and len(memory.seconds) == MOST_INSTANTS
    assert trend is not None and trend.slope == pytest.approx(BYTES_PER_S, rel=0.01)
