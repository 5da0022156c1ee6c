"""Writers of other tools' formats: each has `NAME`, `SUFFIX` of what it writes ("" for a folder),
`write(trace, path)`.
"""

from perfscope.traces.writers import csv, parquet, perfetto, speedscope

WRITERS = (perfetto, speedscope, parquet, csv)
