"""A run folder that is read while it grows: the tables of the whole folder, or of its last
seconds, and each byte read once.
"""

import array
from pathlib import Path

import pandas as pd

from perfscope.traces.run_folder.events import COLUMNS, NEXT
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.tables import read_run, trace_of
from tests.build import FACTS

LONG_NS = 10**15
SECOND = 10**9


def writer(path: Path) -> RunWriter:
    facts = {name: value for name, value in FACTS.items() if name not in ("usable_cores", "torch")}
    run = RunWriter.create(path, Manifest(**facts))
    run.jsonl("clock", -1).append({"mono": 0, "real": 0})
    return run


def ask(run: RunWriter, ts: int) -> None:
    """Append a wait for a batch."""
    values = dict.fromkeys(COLUMNS, 0) | {"kind": NEXT, "tid": 1, "ts": ts, "dur": 5}
    run.arrow("probe.records", 0, COLUMNS).append(
        array.array("q", [values[name] for name in COLUMNS])
    )
    run.jsonl("host.counters", 0).append({"ts": ts, "cpu_ns": ts})


def seal(run: RunWriter) -> None:
    for stream in run.streams.values():
        stream.close()


def test_a_growing_run_has_the_tables_of_the_folder(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    growing = GrowingRun(tmp_path / "r", LONG_NS)
    for second in range(9):
        ask(run, second * SECOND)
        run.flush()
        if second % 3 == 2:
            seal(run)
        growing.update()
        now, whole = trace_of(growing), read_run(tmp_path / "r")
        for name in ("loader", "counters"):
            seen, there = now.table(name), whole.table(name)
            assert seen is not None and there is not None and len(seen) == second + 1
            pd.testing.assert_frame_equal(seen, there)
    assert growing.damaged_records == 0


def test_an_incomplete_record_is_read_when_it_is_complete(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    ask(run, 0)
    run.flush()
    segment = next((tmp_path / "r/streams/probe.records@0").iterdir())
    ask(run, SECOND)
    run.flush()
    whole = segment.read_bytes()
    growing = GrowingRun(tmp_path / "r", LONG_NS)
    segment.write_bytes(whole[:-20])
    growing.update()
    assert len(trace_of(growing).table("loader")) == 1
    segment.write_bytes(whole)
    growing.update()
    assert len(trace_of(growing).table("loader")) == 2


def test_only_the_window_is_kept(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    growing = GrowingRun(tmp_path / "r", 7 * SECOND // 2)
    for second in range(10):
        ask(run, second * SECOND)
        run.flush()
        growing.update()
    kept = trace_of(growing).table("loader")
    assert kept is not None and list(kept["ts"] // SECOND) == [6, 7, 8, 9]


def test_only_the_requested_tables_are_made(tmp_path: Path) -> None:
    run = writer(tmp_path / "r")
    ask(run, 0)
    run.flush()
    growing = GrowingRun(tmp_path / "r", LONG_NS)
    growing.update()
    trace = trace_of(growing, ("loader",))
    assert trace.has("loader") and not trace.has("counters")
