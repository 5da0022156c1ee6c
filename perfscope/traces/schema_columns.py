"""A column of a table, and the columns that several tables have."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Column:
    """A column of a table. `dtype` is the name of a numpy dtype or `category`; `unit` is empty
    where there is none.
    """

    name: str
    dtype: str
    unit: str
    comment: str


TS: Final = Column("ts", "int64", "ns", "start, counted from the job's time zero")
DUR: Final = Column("dur", "int64", "ns", "duration")
PROCESS: Final = Column("process", "int64", "", "process code, see table `processes`")
TID: Final = Column("tid", "int64", "", "thread id, in the pid namespace of the process")
DEVICE: Final = Column("device", "int64", "", "number of the accelerator on its host, -1 unknown")
STREAM: Final = Column("stream", "int64", "", "stream (queue) of the device, -1 unknown")
CORRELATION: Final = Column(
    "correlation", "int64", "", "id that a launch shares with the work it started, -1 none"
)
HOST: Final = Column("host", "category", "", "host name")
LAUNCH: Final = Column("launch", "int64", "", "row of its launch in `launches`, -1 unknown")

STACK_SAMPLES = (
    PROCESS,
    TID,
    TS,
    Column("weight_ns", "int64", "ns", "time that the sample represents"),
    Column(
        "stack",
        "category",
        "",
        "frames `function (file:line)`, outermost first, separated by `;`",
    ),
)
DEVICE_TIMES = (
    PROCESS,
    TID,
    TS,
    DUR,
    Column("call", "category", "", "loader (a wait for a batch) or copy: the timed call"),
    Column(
        "elapsed_ns",
        "int64",
        "ns",
        "time on the device from before to after the call, by events on the current stream",
    ),
)
