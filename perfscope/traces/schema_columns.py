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

PADDED_BATCHES = (
    PROCESS,
    TID,
    TS,
    DUR,
    Column(
        "source",
        "category",
        "",
        "loader (a batch that the loader returned) or call (the arguments of a module)",
    ),
    Column("rows", "int64", "", "rows of the largest tensor of token ids in the batch"),
    Column("width", "int64", "", "values per row"),
    Column("longest", "int64", "", "values of the longest row without padding"),
    Column("shortest", "int64", "", "values of the shortest of up to 16 rows"),
    Column("padded_share", "float64", "", "share of padding in these rows, 0 to 1"),
    Column("side", "category", "", "right, left or none: the end of the rows that is padded"),
    Column("masked", "bool", "", "whether an attention mask of the same shape was counted too"),
)

SOURCE_LINES = (
    PROCESS,
    Column("file", "category", "", "file as the frames of stacks name it"),
    Column("line", "int64", "", "number of the line, from 1"),
    Column("text", "category", "", "the line without the spaces around it"),
)

THREAD_WAITS = (
    PROCESS,
    TID,
    TS,
    Column("period", "int64", "", "number of the period in which the job made no progress"),
    Column("thread", "category", "", "name of the thread"),
    Column("call", "category", "", "system call that it waits in, NA none or unknown"),
    Column(
        "kind",
        "category",
        "",
        "lock, file, disk, pipe, network, requests (a server), input (a person), child, poll,"
        " sleep, stopped (by a signal), running, other",
    ),
    Column(
        "target",
        "category",
        "",
        "path of the file, address of the peer, `pipe`, or address of the lock, NA unknown",
    ),
    Column("peer_pid", "int64", "", "pid of the process at the other end, -1 unknown"),
    Column("peer", "category", "", "short name of that process, NA unknown"),
    Column("limit_ns", "int64", "ns", "time after which the wait ends, -1 never"),
    Column("runs", "int64", "", "how often the thread has run in this period so far"),
    Column("cpu_ns", "int64", "ns", "CPU time of the thread in this period so far"),
    Column(
        "stack",
        "category",
        "",
        "Python frames `function (file:line)`, outermost first, separated by `;`, NA none",
    ),
)

FLIGHT_RECORDS = (
    PROCESS,
    TS,
    Column("rank", "int64", "", "rank that wrote the dump, at `ts`"),
    Column("group", "category", "", "process group"),
    Column("sequence", "int64", "", "number of the collective in its group"),
    Column("operation", "category", "", "name of the collective"),
    Column("state", "category", "", "scheduled, started or completed"),
    Column("place", "category", "", "the program's own line, `function (file:line)`, NA unknown"),
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

SERVER: Final = Column("server", "int64", "", "number of the metrics page on the recording host")

ENGINE_SERVERS = (
    HOST,
    SERVER,
    Column("process", "int64", "", "process code of the engine's front end, -1 unknown"),
    Column("engine", "category", "", "vllm, sglang, llama-cpp, tgi, triton, tensorrt-llm ..."),
    Column("url", "category", "", "address of the page, without a query"),
    Column(
        "other_names",
        "category",
        "",
        "metrics of the engine that are not read, separated by spaces",
    ),
)

ENGINE_SETTINGS = (
    HOST,
    SERVER,
    Column("name", "category", "", "what is set: max-running, max-batched-tokens ..."),
    Column("flag", "category", "", "option of the engine's command line that sets it"),
    Column("value", "category", "", "value on the command line; `on` for an option without one"),
)

ENGINE_METRICS = (
    HOST,
    SERVER,
    TS,
    Column("name", "category", "", "name of the metric, without `_total`"),
    Column("part", "category", "", "value, or of a histogram bucket, sum or count"),
    Column("labels", "category", "", "labels as a JSON object, without `le`"),
    Column("le", "float64", "", "upper bound of a bucket, NaN for other parts"),
    Column(
        "value",
        "float64",
        "",
        "value; a counter or histogram has a row only in readings in which it changed",
    ),
)

REQUESTS = (
    PROCESS,
    Column("tid", "int64", "", "thread in which it begins"),
    Column(
        "ts",
        "int64",
        "ns",
        "arrival, counted from the job's time zero; the end of one that began-before",
    ),
    Column("dur", "int64", "ns", "from its arrival to its end, -1 unknown"),
    Column("number", "int64", "", "number of the request, unique for its source in its process"),
    Column(
        "source",
        "category",
        "",
        "code (`perfscope.request()`), handler (of the web server) or generate (of transformers)",
    ),
    Column(
        "state",
        "category",
        "",
        "complete, failed (by an exception, or an answer with a status of 500 or more),"
        " began-before (the recording), unfinished (at its end)",
    ),
    Column("first_token_ns", "int64", "ns", "from its arrival to its first token, -1 unknown"),
    Column("tokens", "int64", "", "output tokens that it reported, -1 none"),
    Column("end_tid", "int64", "", "thread in which it ends, -1 unfinished"),
    Column("rows", "int64", "", "prompts of a call of `generate`, -1 unknown"),
    Column("prompt_tokens", "int64", "", "tokens of its longest prompt, -1 unknown"),
    Column("kv_bytes", "int64", "bytes", "its KV cache after the prefill, -1 unknown"),
)

TOKEN_GAPS = (
    PROCESS,
    TID,
    Column("ts", "int64", "ns", "time of the report before, or of the first token"),
    Column("dur", "int64", "ns", "from then to this report"),
    Column("number", "int64", "", "number of the request, see table `requests`"),
    Column("tokens", "int64", "", "output tokens that were made in this time"),
    Column("source", "category", "", "code or generate"),
)
