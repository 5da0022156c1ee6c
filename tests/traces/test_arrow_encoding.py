"""The messages that the agent writes without pyarrow are those that pyarrow and our own reader
read.
"""

import array
import random

import pyarrow as pa
import pytest

from perfscope.traces.run_folder.arrow_encoding import END_OF_STREAM, batch_message, schema_message
from perfscope.traces.run_folder.arrow_messages import ArrowReader
from perfscope.traces.run_folder.events import COLUMNS


def rows(count: int, width: int) -> "array.array[int]":
    chance = random.Random(count)
    return array.array("q", [chance.randint(-(2**63), 2**63 - 1) for _ in range(count * width)])


@pytest.mark.parametrize("names", [COLUMNS, ("ts",), ("a", "much longer", "ä")])
def test_pyarrow_reads_what_was_encoded(names: tuple[str, ...]) -> None:
    first, second = rows(1000, len(names)), rows(1, len(names))
    batches = b"".join(batch_message(flat, len(names)) for flat in (first, second))
    table = pa.ipc.open_stream(
        pa.py_buffer(schema_message(names) + batches + END_OF_STREAM)
    ).read_all()
    table.validate(full=True)
    assert table.schema == pa.schema([(name, pa.int64()) for name in names])
    for at, name in enumerate(names):
        assert table.column(name).to_pylist() == [
            *first[at :: len(names)],
            *second[at :: len(names)],
        ]


@pytest.mark.parametrize("lost", [0, 1, 100])
def test_complete_batches_of_a_truncated_stream_are_read(lost: int) -> None:
    data = schema_message(COLUMNS) + batch_message(rows(7, 12), 12) + batch_message(rows(5, 12), 12)
    reader = ArrowReader()
    reader.read(data[: len(data) - lost])
    taken = reader.take_rows()
    assert taken is not None and not reader.refused
    assert taken.num_rows == (7 if lost else 12)
