"""Comparison of the tables of two traces, and the error for a file that cannot be read."""

from pathlib import Path

import pandas as pd
import pytest

from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace


def assert_same_tables(trace: Trace, other: Trace) -> None:
    """Assert that both traces have the same tables and lack the others for the same reasons."""
    for name in TABLES:
        table, other_table = trace.table(name), other.table(name)
        assert (table is None) == (other_table is None), name
        if table is None or other_table is None:
            assert trace.why_absent(name) == other.why_absent(name)
        else:
            pd.testing.assert_frame_equal(table, other_table)


def refusal_to_read(path: Path) -> str:
    """Return the message of the error, of one line, with which the file is refused."""
    with pytest.raises(UnreadableRun) as caught:
        load_trace(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    assert path.name in message
    return message
