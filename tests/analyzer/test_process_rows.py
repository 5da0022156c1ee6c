"""The rows of a process in a table or a fact."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.process_rows import RowsByCode, fact_rows, table_rows
from perfscope.analyzer.run.table_access import in_order_of_time, rows_with_name
from tests import build


def test_rows_of_a_process_keep_their_order_and_index() -> None:
    rows = RowsByCode(pd.DataFrame({"process": [2, 0, 2, 5, 0], "value": [1, 2, 3, 4, 5]}))
    found = rows.rows(2)
    assert found.index.tolist() == [0, 2] and found["value"].tolist() == [1, 3]
    assert rows.rows(0)["value"].tolist() == [2, 5]
    assert rows.rows(5)["value"].tolist() == [4]
    assert len(rows.rows(1)) == 0


def test_a_table_without_rows_has_none_of_any_process() -> None:
    rows = RowsByCode(pd.DataFrame({"process": np.empty(0, np.int64)}))
    assert len(rows.rows(0)) == 0


def test_rows_of_a_table_and_of_a_fact_are_those_of_a_mask() -> None:
    trace = build.trace(ops=[{"process": at % 3, "ts": 10 - at} for at in range(10)])
    ops = trace.table("ops")
    assert ops is not None

    def same_ops(_: object) -> pd.DataFrame:
        return ops

    for process in (0, 1, 2, 7):
        expected = ops[ops["process"] == process]
        found = table_rows(trace, "ops", process)
        assert found is not None
        pd.testing.assert_frame_equal(found, expected)
        pd.testing.assert_frame_equal(fact_rows(trace, same_ops, process), expected)
        assert in_order_of_time(found)["ts"].is_monotonic_increasing
    assert table_rows(trace, "kernels", 0) is None


def test_rows_with_a_name_are_those_that_have_it() -> None:
    names = pd.Categorical(["a", None, "b", "a", "c"])
    rows = pd.DataFrame({"name": names})
    assert rows_with_name(rows, "name", "a", "c").index.tolist() == [0, 3, 4]
    assert len(rows_with_name(rows, "name", "z")) == 0
