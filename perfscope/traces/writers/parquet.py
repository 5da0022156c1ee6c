"""A folder of Parquet files, one a table, with units and comments in the metadata of each
column.
"""

from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from perfscope.traces.schema import TABLES, Column
from perfscope.traces.trace import Trace
from perfscope.traces.written_tables import write_tables

NAME, SUFFIX = "parquet", ""
ROWS_AT_ONCE = 1 << 18
TYPES = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "category": pa.dictionary(pa.int32(), pa.string()),
}


def write(trace: Trace, path: Path) -> None:
    """Writes the folder; names stay dictionaries, numbers 64 bits wide."""
    write_tables(trace, path, ".parquet", write_table)


def write_table(name: str, frame: pd.DataFrame, file: BinaryIO) -> None:
    schema = pa.schema([field(column) for column in TABLES[name]])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for begin in range(0, max(len(frame), 1), ROWS_AT_ONCE):
            part = frame.iloc[begin : begin + ROWS_AT_ONCE]
            columns = [
                pa.array(part[one.name], from_pandas=True).cast(TYPES[one.dtype])
                for one in TABLES[name]
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def field(column: Column) -> pa.Field:
    return pa.field(
        column.name, TYPES[column.dtype], metadata={"unit": column.unit, "comment": column.comment}
    )
