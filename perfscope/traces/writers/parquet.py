"""A folder of Parquet files, one per table, with the unit and the meaning of each column in its
metadata.
"""

from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from perfscope.traces.schema import TABLES
from perfscope.traces.schema_columns import Column
from perfscope.traces.trace import Trace
from perfscope.traces.writer import Writer
from perfscope.traces.written_tables import write_tables

ROWS_AT_ONCE = 1 << 18
ARROW_TYPES = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "category": pa.dictionary(pa.int32(), pa.string()),
}


def write_parquet_folder(trace: Trace, path: Path) -> None:
    """Write the folder. Names stay dictionary-coded, numbers have 64 bits."""
    write_tables(trace, path, ".parquet", write_parquet)


def write_parquet(name: str, frame: pd.DataFrame, file: BinaryIO) -> None:
    """Write one table."""
    schema = pa.schema([arrow_field(column) for column in TABLES[name]])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for begin in range(0, max(len(frame), 1), ROWS_AT_ONCE):
            rows = frame.iloc[begin : begin + ROWS_AT_ONCE]
            arrays = []
            for column in TABLES[name]:
                array = pa.array(rows[column.name], from_pandas=True)
                arrays.append(array.cast(ARROW_TYPES[column.dtype]))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def arrow_field(column: Column) -> pa.Field:
    """Return a column of the schema as a field of Arrow's."""
    metadata = {"unit": column.unit, "comment": column.comment}
    return pa.field(column.name, ARROW_TYPES[column.dtype], metadata=metadata)


WRITER = Writer(name="parquet", suffix="", write=write_parquet_folder)
