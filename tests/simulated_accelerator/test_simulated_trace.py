"""Traces of the simulated device have the events, arguments and types of H100 and A100 traces."""

import gzip
import itertools
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.simulated_accelerator import run_program

RECORDED = Path(__file__).parents[3] / "shared" / "traces" / "kineto"
NUMBER = (int, float)
OF_DEVICE: dict[str, Any] = {
    "External id": int,
    "device": int,
    "context": int,
    "stream": int,
    "correlation": int,
}
OF_COPY = {**OF_DEVICE, "bytes": int, "memory bandwidth (GB/s)": NUMBER}
# The arguments of each category in traces of torch 2.0 to 2.6 of these devices.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "kernel": {
        **OF_DEVICE,
        "queued": int,
        "registers per thread": int,
        "shared memory": int,
        "blocks per SM": NUMBER,
        "warps per SM": NUMBER,
        "grid": list,
        "block": list,
        "est. achieved occupancy %": int,
    },
    "gpu_memcpy": OF_COPY,
    "gpu_memset": OF_COPY,
    "cuda_runtime": {"External id": int, "cbid": int, "correlation": int},
    "gpu_user_annotation": {"External id": int},
    "cuda_sync": {**OF_DEVICE, "cuda_sync_kind": str},
}
# A call outside every operator has none. The arguments of a wait between streams depend on it.
SOMETIMES = {
    "External id",
    "wait_on_stream",
    "wait_on_cuda_event_record_corr_id",
    "wait_on_cuda_event_id",
}
EVENT = {"ph", "cat", "name", "pid", "tid", "ts", "dur", "args"}
ARROW = {"ph", "id", "cat", "name", "pid", "tid", "ts"}
CALLBACKS = {
    "cudaLaunchKernel": 211,
    "cudaMemcpyAsync": 41,
    "cudaMemsetAsync": 51,
    "cudaStreamSynchronize": 131,
    "cudaDeviceSynchronize": 165,
    "cudaEventRecord": 135,
    "cudaStreamWaitEvent": 147,
}
PROPERTIES = {
    "id",
    "name",
    "totalGlobalMem",
    "computeMajor",
    "computeMinor",
    "maxThreadsPerBlock",
    "maxThreadsPerMultiprocessor",
    "regsPerBlock",
    "warpSize",
    "sharedMemPerBlock",
    "numSms",
    "regsPerMultiprocessor",
    "sharedMemPerBlockOptin",
    "sharedMemPerMultiprocessor",
}
ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
CLOCKS_US = 50
"""Within this, the two clocks of a machine are compared by two programs."""

Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Events]:
    """Return the trace of a program, and the ledger of the same run."""
    folder = tmp_path_factory.mktemp("trace")
    trace, ledger = folder / "trace.json", folder / "ledger"
    run_program("profiled", trace, sync_events=1, ledger=ledger)
    steps = [json.loads(line) for line in ledger.read_text().splitlines()]
    return json.loads(trace.read_text()), steps


@pytest.fixture(scope="module")
def trace(recorded: tuple[dict[str, Any], Events]) -> dict[str, Any]:
    return recorded[0]


def by_category(events: Events) -> dict[str, Events]:
    """Return the events of each category."""
    found: dict[str, Events] = defaultdict(list)
    for event in events:
        if event.get("ph") in ("X", "s", "f"):
            found[event.get("cat", "")].append(event)
    return found


@pytest.mark.parametrize("category", ARGUMENTS)
def test_events_have_the_arguments_of_recorded_ones(trace: dict[str, Any], category: str) -> None:
    events = by_category(trace["traceEvents"])[category]
    assert events
    for event in events:
        assert set(event) == EVENT
        given, expected = event["args"], ARGUMENTS[category]
        assert set(given) - SOMETIMES == set(expected) - SOMETIMES
        assert all(isinstance(given[name], expected[name]) for name in set(given) & set(expected))


def test_arrows_lead_from_each_launch_to_its_work(trace: dict[str, Any]) -> None:
    events = by_category(trace["traceEvents"])
    arrows = events["ac2g"]
    starts = {arrow["id"]: arrow for arrow in arrows if arrow["ph"] == "s"}
    ends = {arrow["id"]: arrow for arrow in arrows if arrow["ph"] == "f"}
    assert all(set(arrow) == ARROW for arrow in starts.values())
    assert all(set(arrow) == {*ARROW, "bp"} for arrow in ends.values())
    work = [event for name in ON_DEVICE for event in events[name]]
    calls = {call["args"]["correlation"]: call for call in events["cuda_runtime"]}
    for event in work:
        call = calls[event["args"]["correlation"]]
        assert event["ts"] >= call["ts"]
        start, end = (side[event["args"]["correlation"]] for side in (starts, ends))
        assert (start["pid"], start["tid"], start["ts"]) == (call["pid"], call["tid"], call["ts"])
        assert (end["pid"], end["tid"], end["ts"]) == (event["pid"], event["tid"], event["ts"])


def test_work_belongs_to_the_operator_that_launched_it(trace: dict[str, Any]) -> None:
    events = by_category(trace["traceEvents"])
    operators = {event["args"]["External id"]: event for event in events["cpu_op"]}
    calls = {call["args"]["correlation"]: call for call in events["cuda_runtime"]}
    for event in (event for name in ON_DEVICE for event in events[name]):
        call = calls[event["args"]["correlation"]]
        assert event["args"]["External id"] == call["args"]["External id"]
        operator = operators[event["args"]["External id"]]
        assert operator["tid"] == call["tid"]
        assert operator["ts"] <= call["ts"] <= operator["ts"] + operator["dur"]
        assert event["pid"] == event["args"]["device"] == 0
        assert event["tid"] == event["args"]["stream"]


def test_work_on_a_stream_does_not_overlap(trace: dict[str, Any]) -> None:
    events = by_category(trace["traceEvents"])
    work = [event for name in ON_DEVICE for event in events[name]]
    streams = {event["tid"] for event in work}
    assert len(streams) == 2 and 7 in streams
    for stream in streams:
        rows = sorted((each for each in work if each["tid"] == stream), key=lambda each: each["ts"])
        for first, second in itertools.pairwise(rows):
            assert second["ts"] >= first["ts"] + first["dur"] - 0.002


def test_the_names_are_those_of_cuda(trace: dict[str, Any]) -> None:
    events = by_category(trace["traceEvents"])
    copies = {event["name"] for event in events["gpu_memcpy"]}
    assert {
        "Memcpy HtoD (Pinned -> Device)",
        "Memcpy HtoD (Pageable -> Device)",
        "Memcpy DtoH (Device -> Pinned)",
    } <= copies
    assert {event["name"] for event in events["gpu_memset"]} == {"Memset (Device)"}
    called = {event["name"]: event["args"]["cbid"] for event in events["cuda_runtime"]}
    assert {name: called.get(name) for name in CALLBACKS} == CALLBACKS
    assert "cudaFree" in called
    assert {event["name"] for event in events["gpu_user_annotation"]} >= {
        f"ProfilerStep#{number}" for number in range(4)
    }
    assert set(trace["deviceProperties"][0]) == PROPERTIES


def union_ns(spans: list[tuple[float, float]], from_ns: float, to_ns: float) -> float:
    """Return the length of the union of some spans between two instants."""
    total, end = 0.0, from_ns
    for start, stop in sorted(spans):
        total += max(0.0, min(stop, to_ns) - max(start, end))
        end = max(end, min(stop, to_ns))
    return total


def test_the_ledger_and_the_trace_agree(recorded: tuple[dict[str, Any], Events]) -> None:
    trace, steps = recorded
    events = by_category(trace["traceEvents"])
    to_monotonic_ns = trace["baseTimeNanoseconds"] - (time.time_ns() - time.monotonic_ns())

    def spans(*categories: str) -> list[tuple[float, float]]:
        return [
            (each["ts"] * 1e3 + to_monotonic_ns, (each["ts"] + each["dur"]) * 1e3 + to_monotonic_ns)
            for category in categories
            for each in events[category]
        ]

    inside = steps[1:]
    assert len(inside) == 3
    for step in inside:
        period = (step["start_ns"], step["end_ns"])
        wanted = union_ns(spans("kernel"), *period)
        assert step["kernel_ns"] == pytest.approx(wanted, abs=CLOCKS_US * 1e3)
        both = union_ns(spans(*ON_DEVICE), *period)
        assert step["idle_ns"] == pytest.approx(period[1] - period[0] - both, abs=CLOCKS_US * 1e3)
        assert step["exposed_copy_ns"] == pytest.approx(both - wanted, abs=CLOCKS_US * 1e3)


@pytest.mark.shared_traces
@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded GPU traces in ../shared/traces")
@pytest.mark.parametrize(
    "name", ["h100_vit_inference", "h100_qwen05b", "a100_nccl_metadata_rank0", "a100_alexnet"]
)
def test_recorded_traces_have_these_arguments(name: str) -> None:
    trace = json.loads(gzip.decompress((RECORDED / f"{name}.json.gz").read_bytes()))
    events = by_category(trace["traceEvents"])
    assert set(trace["deviceProperties"][0]) == PROPERTIES
    for category in set(events) & set(ARGUMENTS):
        rows = events[category]
        always = set.intersection(*(set(row["args"]) for row in rows))
        assert always | SOMETIMES == set(ARGUMENTS[category]) | SOMETIMES, category
        expected = ARGUMENTS[category]
        for row in rows:
            given = row["args"]
            assert all(isinstance(given[key], expected[key]) for key in always & set(expected))
    called = {event["name"]: event["args"]["cbid"] for event in events["cuda_runtime"]}
    assert {key: cbid for key, cbid in called.items() if key in CALLBACKS}.items() <= (
        CALLBACKS.items()
    )
    arrows = events["ac2g"]
    assert {frozenset(arrow) for arrow in arrows} <= {frozenset(ARROW), frozenset({*ARROW, "bp"})}
