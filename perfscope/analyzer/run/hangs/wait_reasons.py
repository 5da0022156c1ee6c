"""Why a thread of a job that does not move waits, from its Python frames and its system call."""

import re
from typing import Final

from perfscope.analyzer.run.hangs.job_without_progress import QuietThread

BATCH: Final = "batch"
WORK: Final = "work"
"""A loader worker without a batch to make."""
PEERS: Final = "peers"
"""The other ranks: a collective, or that they join the job."""
LOCK: Final = "lock"
GIL: Final = "gil"
LOCK_FILE: Final = "lock-file"
QUEUE: Final = "queue"
EVENT: Final = "event"
THREAD: Final = "thread"
CHILD: Final = "child"
TASK: Final = "task"
FILE: Final = "file"
PIPE: Final = "pipe"
NETWORK: Final = "network"
REQUESTS: Final = "requests"
INPUT: Final = "input"
PAUSE: Final = "pause"
"""A sleep that ends soon."""
SLEEP: Final = "sleep"
"""A sleep that lasts for longer than a minute."""
SLEEP_LOOP: Final = "sleep-loop"
STOPPED: Final = "stopped"
UNKNOWN: Final = "unknown"

LONG_SLEEP_NS: Final = 60_000_000_000
LOOP_RUNS: Final = 3
"""A thread that has run this often within seconds sleeps in a loop, each time shortly."""
IN_WORKER_LOOP: Final = re.compile(r"_worker_loop \(torch/utils/data/_utils/worker\.py:")
IN_FETCH: Final = re.compile(r"fetch \(torch/utils/data/_utils/fetch\.py:")
IN_BACKWARD: Final = re.compile(
    r"(^|;)(_engine_run_backward|backward|run_backward|grad) \(torch/(autograd|_tensor)"
)
BY_KIND_FIRST: Final = {"stopped": STOPPED, "requests": REQUESTS, "input": INPUT}
FRAMES: Final = (
    (LOCK_FILE, r"(acquire|wait) \((filelock/|torch/utils/file_baton\.py)"),
    (BATCH, r"(__next__|_next_data|_get_data|_try_get_data) \(torch/utils/data/dataloader\.py"),
    (PEERS, r"\((torch/distributed/|torch/nn/parallel/distributed\.py|horovod/|deepspeed/comm/)"),
    (REQUESTS, r"(_run_once|run_forever|run_until_complete) \((asyncio|uvloop)/"),
    (REQUESTS, r"(serve_forever|handle_request) \(socketserver\.py|accept \(socket\.py"),
    (REQUESTS, r"wait_for_termination \(grpc/"),
    (CHILD, r"(wait|_wait|_try_wait|communicate|_communicate) \(subprocess\.py"),
    (CHILD, r"(join|wait|poll) \(multiprocessing/(process|popen_\w+|connection)\.py"),
    (TASK, r"(result|wait|as_completed) \(concurrent/futures/_base\.py"),
    (TASK, r"(get|wait|next|join) \(multiprocessing/pool\.py"),
    (QUEUE, r"(get|put|join) \((queue|multiprocessing/queues)\.py"),
    (QUEUE, r"(recv|recv_bytes|send|send_bytes) \(multiprocessing/connection\.py"),
    (THREAD, r"(join|_wait_for_tstate_lock) \(threading\.py"),
    (EVENT, r"(wait|wait_for) \((threading|multiprocessing/synchronize)\.py"),
)
"""What the frames below the program's own line wait for; the first that is found counts."""
PATTERNS: Final = tuple((reason, re.compile(rf"(^|;)[^;]*?{text}")) for reason, text in FRAMES)
OF_KIND: Final = {
    "lock": LOCK,
    "gil": GIL,
    "file": FILE,
    "disk": FILE,
    "pipe": PIPE,
    "network": NETWORK,
    "child": CHILD,
}


def wait_reason(thread: QuietThread, *, has_ranks: bool) -> str:
    """Return why a thread waits; `has_ranks`: the job has several ranks."""
    if thread.kind in BY_KIND_FIRST:
        return BY_KIND_FIRST[thread.kind]
    stack = ";".join(thread.labels)
    if IN_WORKER_LOOP.search(stack) and not IN_FETCH.search(stack):
        return WORK
    for reason, pattern in PATTERNS:
        if pattern.search(thread.inner):
            return reason
    if has_ranks and thread.kind == "lock" and IN_BACKWARD.search(thread.inner):
        return PEERS
    if thread.kind == "sleep":
        return sleep_reason(thread)
    return OF_KIND.get(thread.kind, UNKNOWN)


def sleep_reason(thread: QuietThread) -> str:
    """Return what kind of sleep a thread is in; without a time limit it waits for a signal."""
    if thread.runs >= LOOP_RUNS:
        return SLEEP_LOOP
    if thread.limit_ns < 0:
        return INPUT
    return SLEEP if thread.limit_ns >= LONG_SLEEP_NS else PAUSE


def has_moved(thread: QuietThread, seconds: float) -> bool:
    """Return whether a thread did more in a period of so many seconds than look for a change.

    What waits for data, a lock or a child without a time limit runs only when it gets that.
    """
    if thread.stack_changed or thread.cpu_ns > MOST_SHARE * seconds * 1e9:
        return True
    if thread.kind in ("file", "disk", "stopped"):
        return thread.runs > FEW_RUNS and thread.cpu_ns > FEW_NS
    if thread.kind == "gil":
        return False
    if thread.kind in ("network", "pipe") and thread.limit_ns > 0:
        return thread.runs > 2 * seconds * 1e9 / thread.limit_ns + 2
    if thread.limit_ns >= 0 or thread.kind in ("sleep", "running", "poll", "other"):
        return thread.runs > MOST_RUNS_PER_S * seconds
    return thread.runs > (1 if thread.kind == "lock" else 0)


MOST_SHARE: Final = 0.01
"""CPU time of a thread that only looks for a change, as a share of a core."""
MOST_RUNS_PER_S: Final = 12.0
FEW_RUNS: Final = 6
FEW_NS: Final = 2_000_000
"""The kernel wakes a thread in a call on a file some times, for less CPU time than this."""
