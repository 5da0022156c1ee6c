"""Traces of many processes or many devices: what is done for each, and what is not repeated."""

import numpy as np
import pandas as pd
import pytest

from perfscope.analyzer.budget import process_computing
from perfscope.analyzer.budget.cpu_work import FEWEST_VIEWS, computing_spans
from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.budget.process_computing import computing_of
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.accelerators.device_activity import activity
from perfscope.analyzer.run.accelerators.other_devices import busy_elsewhere, work_of
from perfscope.analyzer.run.budget_units import MOST_DEVICES, units
from perfscope.traces.intervals import length_ns, merged, subtracted
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.traced.gpu import Gpu

PROCESSES, DEVICES, KERNELS = 300, 40, 4


def cpu_processes(*, by_time: bool = False) -> Trace:
    """Return processes that each call some operators, with inner ones, views and collectives."""
    rows: build.Rows = []
    for process in range(PROCESSES):
        for call in range(2 + process % 3):
            row = {"process": process, "tid": process, "ts": call * 1000 + process % 7}
            outer = len(rows)
            rows.append({**row, "dur": 900, "name": "aten::linear", "parent": -1})
            rows.append({**row, "ts": row["ts"] + 10, "dur": 800, "parent": outer} | MULTIPLY)
        views = FEWEST_VIEWS if process % 2 else 1
        rows += [
            {"process": process, "tid": process, "ts": 10_000 + at, "dur": 3 + process, **VIEW}
            for at in range(0, views * 1000, 1000)
        ]
        if process % 5 == 0:
            rows.append({"process": process, "tid": process, "ts": 90_000, "dur": 500, **REDUCE})
    rows = [{**row, "ts": row["ts"] * 10, "dur": row["dur"] * 10} for row in rows]
    if by_time:
        order = sorted(range(len(rows)), key=lambda row: int(rows[row]["ts"]))
        place = {row: at for at, row in enumerate(order)} | {-1: -1}
        rows = [{**rows[row], "parent": place[rows[row]["parent"]]} for row in order]
    main = [{**build.MAIN, "process": each, "rank": each} for each in range(PROCESSES)]
    return build.trace(ops=rows, processes=main, manifest={"depth": "trace"})


MULTIPLY = {"name": "aten::addmm"}
VIEW = {"name": "aten::view", "parent": -1}
REDUCE = {"name": "c10d::allreduce_", "parent": -1}


def many_devices(count: int) -> Trace:
    """Return a process that launches kernels on many devices in turn."""
    gpu = Gpu()
    for number in range(count * KERNELS):
        gpu.device = number % count
        gpu.op(number * 40, 30)
        gpu.started(number * 40 + 1, number * 40 + 9, 20 + number % 50)
    return gpu.trace(manifest={"depth": "trace"})


def test_what_each_of_many_processes_computes_is_the_same_as_found_alone() -> None:
    trace = cpu_processes()
    ops = trace.table("ops")
    assert ops is not None
    for process in range(PROCESSES):
        found = computing_of(trace, process)
        alone: pd.DataFrame = ops[ops["process"] == process]
        begin, end, place = computing_spans(alone)
        np.testing.assert_array_equal(found.begin, begin)
        np.testing.assert_array_equal(found.end, end)
        np.testing.assert_array_equal(found.row, alone.index.to_numpy()[place])
        asks = (alone["name"] == REDUCE["name"]).to_numpy()
        assert found.has_collectives == asks.any() == (process % 5 == 0)
        others = ~asks[place]
        assert length_ns(found.spans) == length_ns(merged((begin[others], end[others])))


def test_many_processes_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(ops: pd.DataFrame) -> object:
        sizes.append(len(ops))
        return computing_spans(ops)

    monkeypatch.setattr(process_computing, "computing_spans", counted)
    monkeypatch.setattr(process_computing, "MOST_ROWS", 1000)
    trace = cpu_processes()
    assert len(diagnose_trace(trace).per_process) == PROCESSES
    rows = len(trace.table("ops"))  # type: ignore[arg-type]
    assert sum(sizes) == rows and len(sizes) <= 1 + rows // 900 and max(sizes) <= 1000


def test_the_rows_of_a_table_in_another_order_give_the_same() -> None:
    trace, other = cpu_processes(), cpu_processes(by_time=True)
    for process in (0, 1, PROCESSES - 1):
        assert length_ns(computing_of(trace, process).spans) > 0
        for got, want in zip(
            computing_of(other, process).spans, computing_of(trace, process).spans, strict=True
        ):
            np.testing.assert_array_equal(got, want)


def test_the_work_of_other_devices_is_all_work_but_that_of_one() -> None:
    trace = many_devices(DEVICES)
    busy = {unit.device: work_of(activity(trace, unit)) for unit in units(trace)}
    for unit in units(trace):
        others = merged(*(spans for device, spans in busy.items() if device != unit.device))
        found = busy_elsewhere(trace, unit)
        assert length_ns(found) == length_ns(others) > 0
        assert length_ns(subtracted(found, others)) == 0


def test_the_gaps_of_one_device_are_not_divided_for_all() -> None:
    trace = many_devices(DEVICES)
    gaps = host_gaps(trace, 0, 3)
    assert set(gaps["device"]) == {3}
    ops = len(trace.table("ops"))  # type: ignore[arg-type]
    assert len(gaps) <= 6 * ops


def test_of_many_devices_the_first_are_analyzed_and_the_others_reported() -> None:
    trace = many_devices(MOST_DEVICES + 20)
    assert [unit.device for unit in units(trace)] == list(range(MOST_DEVICES))
    assert [line for line in diagnose_trace(trace).dropped if line.startswith("20 devices")]
    assert not [line for line in diagnose_trace(many_devices(3)).dropped if "devices" in line]
