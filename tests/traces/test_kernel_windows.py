"""The windows of a run folder: which traces are read, and what is told of those that are not."""

import gzip
import json
from pathlib import Path
from typing import Any

from perfscope.traces.load import load_trace
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.kernel_windows import MOST_READ
from perfscope.traces.run.manifest import Manifest

MS = 1_000_000
ZERO_NS = 1_000_000_000_000
REAL_NS = 1_700_000_000_000_000_000


def written(folder: Path, windows: list[dict[str, Any]]) -> Path:
    """A run of one process with these rows in its stream of windows; those with a name have a trace
    of one operator.
    """
    manifest = Manifest("job", "here", "boot", ZERO_NS, REAL_NS, "0", [], 1, "kernels")
    run = RunWriter.create(folder, manifest)
    run.jsonl("processes", -1).append(
        {
            "process": 0,
            "host": "here",
            "boot_id": "boot",
            "pid": 1,
            "start_ticks": 1,
            "role": "main",
            "rank": 0,
        }
    )
    (folder / "kineto").mkdir()
    for number, row in enumerate(windows):
        run.jsonl("kernels", 0).append(row)
        if "name" in row:
            event = {
                "ph": "X",
                "cat": "cpu_op",
                "name": f"aten::op{number}",
                "pid": 1,
                "tid": 1,
                "ts": 10.0,
                "dur": 5.0,
            }
            marks = [
                {**event, "cat": "user_annotation", "tid": 2, "name": name}
                for name in ("gloo:all_reduce", "mine", "Optimizer.step#SGD.step")
            ]
            zero = REAL_NS + number * 100 * MS
            whole = {
                "schemaVersion": 1,
                "baseTimeNanoseconds": zero,
                "traceEvents": [event, *marks],
            }
            (folder / "kineto" / row["name"]).write_bytes(gzip.compress(json.dumps(whole).encode()))
    run.close()
    return folder


def row(number: int, **more: Any) -> dict[str, Any]:
    at = ZERO_NS + number * 100 * MS
    times = {"first": at, "begin": at, "end": at + 50 * MS, "last": at + 60 * MS}
    return {"mono": at, "real": REAL_NS + number * 100 * MS, **times, "steps": 1, **more}


def test_a_trial_and_a_dropped_trace_have_their_row_and_no_operators(tmp_path: Path) -> None:
    rows = [
        row(0, trial=True),
        row(1, name="rank0.json.gz"),
        row(2, name="rank0-2.json.gz"),
        {"gone": "rank0.json.gz"},
    ]
    trace = load_trace(written(tmp_path / "run", rows))
    windows, ops = trace.table("windows"), trace.table("ops")
    assert windows is not None and ops is not None
    assert list(windows["kept"]) == [False, False, True]
    assert list(ops["name"]) == ["aten::op2"] and trace.torn == 0
    assert list(ops["ts"]) == [200 * MS + 10_000]
    ranges = trace.table("ranges")
    assert ranges is not None  # of its annotations what the probe cannot see
    assert [(one.name, one.tid, one.ts) for one in ranges.itertuples()] == [
        (name, 2, 200 * MS + 10_000) for name in ("gloo:all_reduce", "mine")
    ]


def test_of_very_many_windows_the_newest_are_read_and_all_are_told(tmp_path: Path) -> None:
    rows = [row(number, name=f"rank0-{number}.json.gz") for number in range(MOST_READ + 3)]
    trace = load_trace(written(tmp_path / "run", rows))
    windows, ops = trace.table("windows"), trace.table("ops")
    assert windows is not None and ops is not None
    assert len(windows) == MOST_READ + 3 and list(ops["name"]) == [
        f"aten::op{n}" for n in range(3, MOST_READ + 3)
    ]


def test_a_trace_that_is_not_there_is_counted(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "run", [row(0, name="rank0.json.gz"), row(1, name="rank0-2.json.gz")]
    )
    (folder / "kineto" / "rank0.json.gz").unlink()
    assert load_trace(folder).torn == 1
