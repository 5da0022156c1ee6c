"""Traces written for speedscope: the schema of the format, the order of calls, and the times."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from perfscope.traces.writers import speedscope
from tests.traces.kineto.recorded import FOLDER
from tests.traces.writers.traces import ODD_NAMES, odd_trace

NUMBER, TEXT, UNITS = (
    {"type": "number"},
    {"type": "string"},
    ["nanoseconds", "microseconds", "milliseconds", "seconds"],
)
PROFILE = {
    "name": TEXT,
    "unit": {"enum": [*UNITS, "bytes", "none"]},
    "startValue": NUMBER,
    "endValue": NUMBER,
}
INDEX = {"type": "integer", "minimum": 0}
EVENT = {
    "type": "object",
    "required": ["type", "at", "frame"],
    "properties": {"type": {"enum": ["O", "C"]}, "at": NUMBER, "frame": INDEX},
}
FORMAT = {
    "type": "object",
    "required": ["$schema", "shared", "profiles"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": TEXT,
        "exporter": TEXT,
        "activeProfileIndex": INDEX,
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {"type": "array", "items": {"type": "object", "required": ["name"]}}
            },
        },
        "profiles": {
            "type": "array",
            "items": {
                "oneOf": [
                    {
                        "required": ["type", "events", *PROFILE],
                        "properties": {
                            "type": {"const": "evented"},
                            "events": {"type": "array", "items": EVENT},
                            **PROFILE,
                        },
                    },
                    {
                        "required": ["type", "samples", "weights", *PROFILE],
                        "properties": {
                            "type": {"const": "sampled"},
                            "samples": {
                                "type": "array",
                                "items": {"type": "array", "items": INDEX},
                            },
                            "weights": {"type": "array", "items": NUMBER},
                            **PROFILE,
                        },
                    },
                ]
            },
        },
    },
}
"""The required fields of a file, from the published format."""


def written(trace: Trace, path: Path) -> dict[str, Any]:
    speedscope.write_speedscope(trace, path)
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def total_by_name(file: dict[str, Any]) -> Counter[str]:
    """Return the time of calls by name, and assert that calls end in the reverse order."""
    names, total = [frame["name"] for frame in file["shared"]["frames"]], Counter[str]()
    for profile in file["profiles"]:
        if profile["type"] == "sampled":
            continue
        open_calls, now = [], profile["startValue"]
        for event in profile["events"]:
            assert now <= event["at"] <= profile["endValue"]
            now = event["at"]
            if event["type"] == "O":
                open_calls.append((event["frame"], now))
            else:
                frame, since = open_calls.pop()
                assert frame == event["frame"]  # calls end in the reverse order
                total[names[frame]] += now - since
        assert not open_calls
    return total


def expected(trace: Trace) -> Counter[str]:
    total = Counter[str]()
    for table in ("ops", "launches", "ranges", "kernels"):
        frame = trace.table(table)
        if frame is not None:
            for name, dur in zip(frame["name"], frame["dur"], strict=True):
                total[str(name)] += dur
    return total


def test_the_file_has_the_format_and_the_times(tmp_path: Path) -> None:
    trace = odd_trace()
    file = written(trace, tmp_path / "odd.json")
    jsonschema.validate(file, FORMAT)
    others = {
        "Memcpy HtoD (Pageable -> Device)": 99,
        "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__": 20,
    }
    assert total_by_name(file) == expected(trace) + Counter(others)
    assert set(ODD_NAMES) <= set(total_by_name(file))


def test_each_thread_and_stream_has_a_profile(tmp_path: Path) -> None:
    names = [profile["name"] for profile in written(odd_trace(), tmp_path / "odd.json")["profiles"]]
    assert sorted(names) == [
        'rank "1" 200: GPU 1 stream 7',
        'rank "1" 200: thread 200',
        "train.py 100: GPU 0 stream 7",
        "train.py 100: GPU 0 stream 7 (overlapping, 1)",
        "train.py 100: thread 100 main\n",
        "train.py 100: thread 100 main\n (overlapping, 1)",
        "train.py 100: thread 100 main\n (samples)",
    ]


def test_samples_keep_their_weights(tmp_path: Path) -> None:
    file = written(odd_trace(), tmp_path / "odd.json")
    names = [frame["name"] for frame in file["shared"]["frames"]]
    (profile,) = [profile for profile in file["profiles"] if profile["type"] == "sampled"]
    stacks = [[names[frame] for frame in sample] for sample in profile["samples"]]
    assert stacks == [["main (a.py:1)", "f (a.py:2)"], ["main (a.py:1)"], []]
    assert profile["weights"] == [10, 10, 10] and profile["endValue"] == 30


@pytest.mark.shared_traces
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the recorded traces are not in {FOLDER}")
@pytest.mark.parametrize("name", ["kineto/h100_vit_inference.json.gz", "nsys/h100_2gpu_1s.sqlite"])
def test_recorded_traces(tmp_path: Path, name: str) -> None:
    trace = load_trace(FOLDER / name)
    file = written(trace, tmp_path / "again.json")
    jsonschema.Draft7Validator(FORMAT).validate({**file, "profiles": []})
    found = total_by_name(file)
    assert {name: found[name] for name in expected(trace)} == dict(expected(trace))
