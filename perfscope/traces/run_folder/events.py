"""The kinds of records that the probe writes, and the meaning of their values.

A record is twelve int64: `kind, tid, ts, dur, v0 .. v7`. `ts` is a reading of CLOCK_MONOTONIC in
the process that writes it, in nanoseconds; `dur` is in nanoseconds; `tid` is the thread id in the
pid namespace of the process. An unknown value is -1. A *code* refers to a row of the `names` stream
of the same process.

The probe runs inside the target and cannot import this package. The agent passes it KINDS as
constants.
"""

from typing import Final

WIDTH: Final = 12
COLUMNS: Final = ("kind", "tid", "ts", "dur", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7")

NEXT: Final = 1
FETCH: Final = 2
LOADER_START: Final = 3
FORWARD: Final = 4
BACKWARD: Final = 5
OPTIMIZER: Final = 6
SCALER: Final = 7
CHECKPOINT: Final = 8
GC: Final = 9
SYNC: Final = 10
COPY: Final = 11  # 12 was used by an earlier format
STEP: Final = 13
NVTX: Final = 14
COMPILATION: Final = 15
DEVICE_TIME: Final = 16
PADDING: Final = 17
REQUEST_BEGIN: Final = 18
REQUEST: Final = 19
REQUEST_TOKENS: Final = 20
GENERATION: Final = 21

KINDS: Final[dict[str, int]] = {
    "NEXT": NEXT,
    "FETCH": FETCH,
    "LOADER_START": LOADER_START,
    "FORWARD": FORWARD,
    "BACKWARD": BACKWARD,
    "OPTIMIZER": OPTIMIZER,
    "SCALER": SCALER,
    "CHECKPOINT": CHECKPOINT,
    "GC": GC,
    "SYNC": SYNC,
    "COPY": COPY,
    "STEP": STEP,
    "NVTX": NVTX,
    "COMPILATION": COMPILATION,
    "DEVICE_TIME": DEVICE_TIME,
    "PADDING": PADDING,
    "REQUEST_BEGIN": REQUEST_BEGIN,
    "REQUEST": REQUEST,
    "REQUEST_TOKENS": REQUEST_TOKENS,
    "GENERATION": GENERATION,
}
TIMED_COPY: Final = 2
"""`call` of a DEVICE_TIME: a copy; 1 is a wait for the loader."""

VALUES: Final[dict[int, tuple[str, ...]]] = {
    # the training process waits for a batch of its loader
    NEXT: ("iterator", "loader", "workers", "queue_depth", "end", "cpu_before_ns", "cpu_after_ns"),
    # a worker (or the training process, worker -1) makes a batch
    FETCH: (
        "worker",
        "dataset_ns",
        "collate_ns",
        "cpu_ns",
        "run_delay_ns",
        "read_bytes",
        "major_faults",
        "samples",
    ),
    # an iterator is created and starts its workers
    LOADER_START: ("iterator", "loader", "workers"),
    # a call of an outermost module
    FORWARD: ("module", "training", "grad"),
    BACKWARD: (),
    OPTIMIZER: ("optimizer",),
    # GradScaler.step, also when it skips the optimizer
    SCALER: ("optimizer",),
    CHECKPOINT: ("bytes",),
    # caller: the code of the frames that called gc.collect, -1 for an automatic collection
    GC: ("generation", "collected", "caller"),
    # .item(), .cpu() of a device tensor, torch.cuda.synchronize
    SYNC: ("name", "bytes"),
    # a copy between host and device; direction 1 = to the device, 2 = from it
    COPY: ("bytes", "direction", "pinned", "non_blocking"),
    # `perfscope.step()` or `scope.step()`: the program marks the end of a step
    STEP: ("samples", "tokens"),
    # a range or mark. The injection library has a stream of its own, whose codes are rows of
    # `nvtx.names`. domain and category: codes; payload_type: 0 none, 1 int64, 2 uint64, 3 the bits
    # of a double; way: 0 push and pop, 1 start and end, 2 mark; end_tid: the thread that ended the
    # range, when it was another
    NVTX: (
        "name",
        "domain",
        "category",
        "category_id",
        "payload",
        "payload_type",
        "way",
        "end_tid",
    ),
    # torch.compile compiles: from Dynamo's first callback to its last. function: a code; frame:
    # Dynamo's number of it; earlier: how often it was compiled before; guard: the code of the check
    # that failed
    COMPILATION: ("function", "frame", "earlier", "guard"),
    # what the device did around a call of the host that has a record of its own with these times.
    # call: 1 = a wait for the loader, 2 = a copy; elapsed_ns: the time on the device from before to
    # after the call
    DEVICE_TIME: ("call", "elapsed_ns"),
    # the padding of the largest tensor of token ids in a batch: longest and shortest of its rows
    # without it, the share of it (per million), its side (0 none, 1 right, 2 left), and whether an
    # attention mask agrees. source: 1 a batch of the loader, 2 the arguments of a module
    PADDING: ("source", "rows", "width", "longest", "shortest", "padded_ppm", "side", "masked"),
    # a request of a server begins; number: unique for its source in its process. source: 0 =
    # `perfscope.request()`, 1 = the handler of a web server, 2 = `generate` of transformers
    REQUEST_BEGIN: ("number", "source"),
    # it ends. whole: 1 = ts is its arrival; 0 = it began before the recording, and ts is its end.
    # first_token_ns: after the arrival; end_tid: the thread that ended it
    REQUEST: ("number", "first_token_ns", "tokens", "failed", "whole", "end_tid", "source"),
    # it reports output tokens; dur: since the report before, in which so many tokens were made;
    # source: -1 or 0 = `perfscope.request()`, 2 = `generate`
    REQUEST_TOKENS: ("number", "tokens", "source"),
    # a call of `generate` ends: rows and width of its prompt, and the size of the KV cache after
    # the prefill
    GENERATION: ("number", "rows", "prompt_tokens", "kv_bytes"),
}
