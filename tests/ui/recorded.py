"""A run folder of a run like `sample_traces.input_bound`, written as the agent writes it."""

import array
from pathlib import Path

from perfscope.traces.run_folder import events
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from tests.build import FACTS

MS = 1_000_000
STEP, WAIT, STEPS = 10 * MS, 7 * MS, 120


def recorded_run(path: Path) -> Path:
    """Write and return a run with steps of 10 ms, of which 7 wait for two workers that decode."""
    facts = {name: value for name, value in FACTS.items() if name not in ("usable_cores", "torch")}
    run = RunWriter.create(path, Manifest(**facts))
    run.jsonl("clock", -1).append({"mono": 0, "real": 0})
    for process, role in enumerate(("main", "loader-worker", "loader-worker")):
        identity = {
            "host": "h",
            "boot_id": "b",
            "pid": 100 + process,
            "ns_pid": 100 + process,
            "start_ticks": 1,
        }
        role_fields = {
            "parent": 0 if process else -1,
            "rank": 0,
            "local_rank": 0,
            "worker": process - 1,
            "name": "train.py",
        }
        run.jsonl("processes", -1).append(
            {"process": process, "role": role, **identity, **role_fields}
        )
    for step in range(STEPS):
        ts = step * STEP
        request = {"iterator": 1, "loader": 1, "workers": 2, "queue_depth": 0, "end": 0}
        forward = {"module": 1, "training": 1, "grad": 1}
        append_record(run, 0, events.NEXT, (ts, WAIT), request)
        append_record(run, 0, events.FORWARD, (ts + WAIT, MS), forward)
        append_record(run, 0, events.BACKWARD, (ts + WAIT + MS, MS), {})
        append_record(run, 0, events.OPTIMIZER, (ts + WAIT + 2 * MS, MS // 2), {"optimizer": 2})
        cost = {
            "worker": step % 2,
            "dataset_ns": 2 * STEP - 2 * MS,
            "collate_ns": MS,
            "cpu_ns": STEP // 10,
        }
        fetched = (max(ts - STEP, 0), 2 * STEP - MS)
        append_record(run, 1 + step % 2, events.FETCH, fetched, cost)
    for process in range(3):
        for tick in range(13):
            counters = {
                "cpu_ns": tick * 20 * MS,
                "run_delay_ns": tick * MS,
                "rss_bytes": 1e8,
                "read_bytes": 0,
            }
            run.jsonl("host.counters", process).append({"ts": tick * 100 * MS, **counters})
        for sample in range(60):
            stack = {
                "tid": 100 + process,
                "ts": sample * 2 * STEP,
                "weight_ns": 2 * STEP,
                "stack": "main (t.py:1);<b> (u.py:2)",
            }
            run.jsonl("probe.stacks", process).append(stack)
    run.flush()
    run.close()
    return path


def append_record(
    run: RunWriter, process: int, kind: int, times: tuple[int, int], values: dict[str, int]
) -> None:
    """Append a record of the probe with its (ts, dur); a value that is not in `values` is -1."""
    ts, dur = times
    row = dict.fromkeys(events.COLUMNS, -1) | {
        "kind": kind,
        "tid": 100 + process,
        "ts": ts,
        "dur": dur,
    }
    for at, name in enumerate(events.VALUES[kind]):
        row[f"v{at}"] = values.get(name, -1)
    flat = array.array("q", [row[name] for name in events.COLUMNS])
    run.arrow("probe.records", process, events.COLUMNS).append(flat)
