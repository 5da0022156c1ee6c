"""Dumps of PyTorch's Flight Recorder: plain values are read, and nothing in them is executed."""

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.hangs import flight_recorder_dumps
from perfscope.agent.hangs.flight_recorder_dumps import prefixes_of, read_flight_dumps

FRAMES = [
    {"name": "all_reduce", "filename": "/v/lib/python3.11/site-packages/torch/a.py", "line": 3},
    {"name": "train", "filename": "/srv/job/train.py", "line": 41},
    {"name": "<module>", "filename": "/srv/job/train.py", "line": 60},
]


def entry(sequence: int, state: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return a collective as torch writes it."""
    values = {
        "record_id": sequence,
        "pg_id": 0,
        "process_group": ("0", "default_pg"),
        "collective_seq_id": sequence,
        "p2p_seq_id": 0,
        "op_id": sequence,
        "profiling_name": "nccl:all_reduce",
        "time_created_ns": 1,
        "input_sizes": [[3, 4]],
        "state": state,
        "is_p2p": False,
        "retired": False,
        "frames": FRAMES,
    }
    return {**values, **fields}


def write_dump(path: Path, *entries: dict[str, Any]) -> None:
    """Write a dump with these entries."""
    path.write_bytes(pickle.dumps({"version": "2.10", "entries": list(entries)}, protocol=2))


@pytest.fixture
def root() -> Iterator[int]:
    opened = os.open("/", os.O_PATH | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def read(root: int, folder: Path, oldest_s: float = 0.0) -> list[Any]:
    """Return the rows of the dumps in a folder, without the times at which they were written."""
    rows = read_flight_dumps(root, [f"{folder}/trace_"], oldest_s, "/srv/job/").value
    return [[row[0], *row[2:]] for row in rows]


def test_the_last_collectives_of_each_rank_are_read(tmp_path: Path, root: int) -> None:
    write_dump(tmp_path / "trace_0", *map(entry, range(1, 9)), entry(9, "started"))
    write_dump(tmp_path / "trace_11", entry(8, is_p2p=True), entry(8))
    write_dump(tmp_path / "trace_12", entry(8, "scheduled", profiling_name="gloo:all_reduce"))
    (tmp_path / "trace_x").write_bytes(b"")
    place = "train (./train.py:41)"
    assert read(root, tmp_path) == [
        [0, "default_pg", 7, "all_reduce", "completed", place],
        [0, "default_pg", 8, "all_reduce", "completed", place],
        [0, "default_pg", 9, "all_reduce", "started", place],
        [11, "default_pg", 8, "all_reduce", "completed", place],
    ]


def test_dumps_of_an_earlier_program_are_left_out(tmp_path: Path, root: int) -> None:
    write_dump(tmp_path / "trace_0", entry(1))
    assert read(root, tmp_path, time.time() + 60) == []


class Planted:
    """An object whose pickle calls a function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_dump_that_names_a_function_is_not_read(tmp_path: Path, root: int) -> None:
    target = tmp_path / "touched"
    dump = pickle.dumps({"entries": [entry(1)], "more": Planted(target)})
    (tmp_path / "trace_0").write_bytes(dump)
    assert read(root, tmp_path) == []
    assert not target.exists()


def test_damaged_and_special_files_are_left_out(tmp_path: Path, root: int) -> None:
    whole = pickle.dumps({"entries": [entry(1), entry(2)]})
    for number, content in enumerate(
        (b"", whole[:-9], b"\x80\x02]", pickle.dumps([1]), pickle.dumps({"entries": [{}]}))
    ):
        (tmp_path / f"trace_{number}").write_bytes(content)
    os.mkfifo(tmp_path / "trace_90")
    (tmp_path / "trace_91").symlink_to("/etc/passwd")
    (tmp_path / "trace_92").mkdir()
    write_dump(tmp_path / "trace_93", entry(5))
    assert [row[0] for row in read(root, tmp_path)] == [93]


def test_files_of_other_users_do_not_crowd_out_the_dumps_of_the_program(
    tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_recorder_dumps, "MOST_RANKS", 2)
    for name in ("00", "000", "0" * 40, "1", "2", "9" * 60, "٣"):
        (tmp_path / f"trace_{name}").write_bytes(b"not a dump")
    for rank in (3, 4, 5):
        write_dump(tmp_path / f"trace_{rank}", entry(7))
    assert [row[0] for row in read(root, tmp_path)] == [3, 4]


def test_the_prefix_is_that_of_the_environment() -> None:
    assert prefixes_of({"TORCH_FR_DUMP_TEMP_FILE": "/a/b_"}) == ["/a/b_"]
    assert prefixes_of({"TORCH_NCCL_DEBUG_INFO_TEMP_FILE": "/c_", "HOME": "/h"}) == ["/c_"]
    assert prefixes_of({"HOME": "/h", "TORCH_FR_DUMP_TEMP_FILE": "relative"}) == [
        "/h/.cache/torch/comm_lib_trace_rank_",
        "/tmp/nccl_trace_rank_",
    ]
    assert prefixes_of({}) == ["/tmp/nccl_trace_rank_"]
