"""Traces written for Perfetto: the rules of the format, and the tables when they are read again."""

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.shown_text import shown_values
from perfscope.traces.trace import Trace
from perfscope.traces.writers import perfetto
from tests.build import MAIN, trace
from tests.traces.kineto.recorded import FOLDER
from tests.traces.writers.traces import ODD_NAMES, cells, odd_trace

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


def test_every_event_has_the_fields_that_the_format_requires(written: Path) -> None:
    for event in events(written):
        assert (
            isinstance(event["pid"], int)
            and isinstance(event["tid"], int)
            and isinstance(event["name"], str)
        )
        assert max(event["pid"], event["tid"]) < 2**31  # the viewer has 32 bits for them
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
            assert not any(a < c < b < d for c, d in spans)  # events of a line nest
    # two threads and two streams, one of each with a second lane
    assert len(lines) == 6


def test_arrows_lead_from_a_launch_to_its_kernel(written: Path) -> None:
    found = events(written)
    starts = {e["id"]: e for e in found if e["ph"] == "s"}
    ends = {e["id"]: e for e in found if e["ph"] == "f"}
    slices = {(e["pid"], e["tid"], e["ts"]): e for e in found if e["ph"] == "X"}
    assert len(starts) == 4 and starts.keys() == ends.keys()
    for number, start in starts.items():
        launch, work = (slices[e["pid"], e["tid"], e["ts"]] for e in (start, ends[number]))
        assert launch["cat"] == "cuda_runtime" and work["cat"] in ("kernel", "gpu_memcpy")
        assert launch["args"]["correlation"] == work["args"]["correlation"]


def test_names_with_special_characters_are_written_unchanged(written: Path) -> None:
    assert set(ODD_NAMES) <= {event["name"] for event in events(written)}


def test_the_tables_are_the_same_when_the_file_is_read_again(written: Path) -> None:
    compare(odd_trace(), load_trace(written))


def compare(before: Trace, after: Trace) -> None:
    for table, columns in SAME.items():
        if before.table(table) is None:
            assert after.table(table) is None, table
            continue
        written = shown_values(cells(before, table, *columns))
        assert cells(after, table, *columns) == written, table


@pytest.mark.shared_traces
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the recorded traces are not in {FOLDER}")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_traces_are_the_same_when_they_are_read_again(tmp_path: Path, name: str) -> None:
    before = load_trace(FOLDER / name)
    perfetto.write_perfetto(before, tmp_path / "again.json.gz")
    compare(before, load_trace(tmp_path / "again.json.gz"))


def test_kernels_of_an_unknown_device_are_in_their_process(tmp_path: Path) -> None:
    unknown = (-1, -7, -(2**63))
    kernels = [
        {"ts": 10 * place, "dur": 5, "device": device, "stream": 7, "name": f"kernel {place}"}
        for place, device in enumerate((0, *unknown))
    ]
    path = tmp_path / "kernels.json.gz"
    perfetto.write_perfetto(trace(processes=[MAIN], kernels=kernels), path)
    pids = {event["name"]: event["pid"] for event in events(path) if event["ph"] == "X"}
    assert len({pids[f"kernel {place}"] for place in (1, 2, 3)}) == 1
    assert pids["kernel 0"] != pids["kernel 1"]
