"""Written for Perfetto and read again: by the format's own rules, and by our reader of the same
format.
"""

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from perfscope.traces.writers import perfetto
from tests.conventions.sources import ROOT
from tests.traces.writers.traces import ODD_NAMES, cells, odd_trace

SHARED = ROOT.parent / "shared/traces"
RECORDED = (
    "kineto/h100_qwen05b.json.gz",
    "kineto/a100_nccl_metadata_rank0.json.gz",
    "nsys/h100_2gpu_before.sqlite",
)
SAME = {
    "kernels": ("device", "stream", "ts", "dur", "name", "kind", "correlation"),
    "copies": ("ts", "dur", "direction", "bytes", "pinned", "device", "stream", "correlation"),
    "launches": ("ts", "dur", "name", "kind", "correlation"),
    "ops": ("ts", "dur", "name", "sequence", "shapes"),
    "collectives": ("ts", "dur", "kind", "in_bytes", "out_bytes", "group", "group_size"),
    "memory": ("device", "ts", "bytes", "allocated_bytes", "reserved_bytes"),
    "loader": ("ts", "dur", "kind", "workers"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perfetto") / "odd.json.gz"
    perfetto.write_perfetto(odd_trace(), path)
    return path


def events(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        found: list[dict[str, Any]] = json.load(file)["traceEvents"]
    return found


def test_every_event_has_what_the_format_asks_for(written: Path) -> None:
    for event in events(written):
        assert (
            isinstance(event["pid"], int)
            and isinstance(event["tid"], int)
            and isinstance(event["name"], str)
        )
        assert max(event["pid"], event["tid"]) < 2**31, "the viewer keeps them in 32 bits"
        needed = {
            "X": {"ts", "dur", "cat"},
            "M": {"args"},
            "C": {"ts", "args"},
            "i": {"ts", "s"},
            "s": {"ts", "id"},
        }
        assert needed.get(event["ph"], {"ts", "id", "bp"}) <= set(event), event


def test_events_of_one_line_nest(written: Path) -> None:
    lines = defaultdict(list)
    for event in events(written):
        if event["ph"] == "X":
            start = round(event["ts"] * 1000)
            lines[event["pid"], event["tid"]].append((start, start + round(event["dur"] * 1000)))
    for spans in lines.values():
        for a, b in spans:
            assert not any(a < c < b < d for c, d in spans), "two only overlap"
    assert len(lines) == 6, "two threads and two streams, one of each with a second lane"


def test_arrows_end_at_what_was_launched(written: Path) -> None:
    found = events(written)
    starts = {e["id"]: e for e in found if e["ph"] == "s"}
    ends = {e["id"]: e for e in found if e["ph"] == "f"}
    slices = {(e["pid"], e["tid"], e["ts"]): e for e in found if e["ph"] == "X"}
    assert len(starts) == 4 and starts.keys() == ends.keys()
    for number, start in starts.items():
        launch, work = (slices[e["pid"], e["tid"], e["ts"]] for e in (start, ends[number]))
        assert launch["cat"] == "cuda_runtime" and work["cat"] in ("kernel", "gpu_memcpy")
        assert launch["args"]["correlation"] == work["args"]["correlation"]


def test_odd_names_survive(written: Path) -> None:
    assert set(ODD_NAMES) <= {event["name"] for event in events(written)}


def test_our_reader_finds_the_same_tables(written: Path) -> None:
    compare(odd_trace(), load_trace(written))


def compare(before: Trace, after: Trace) -> None:
    for table, columns in SAME.items():
        if before.table(table) is None:
            assert after.table(table) is None, table
            continue
        assert cells(after, table, *columns) == cells(before, table, *columns), table


@pytest.mark.shared_traces
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the recorded traces are not in {SHARED}")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_traces_come_back_the_same(tmp_path: Path, name: str) -> None:
    before = load_trace(SHARED / name)
    perfetto.write_perfetto(before, tmp_path / "again.json.gz")
    compare(before, load_trace(tmp_path / "again.json.gz"))
