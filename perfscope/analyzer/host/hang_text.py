"""The sentences about a hang: which thread waits for what, and where."""

from collections.abc import Iterable
from typing import Final

from perfscope.analyzer.diagnosis import CodeLocation
from perfscope.analyzer.number_text import digits, duration, plural
from perfscope.analyzer.run.hangs.hung_job import Hang
from perfscope.analyzer.run.hangs.job_without_progress import (
    MAIN,
    WORKER,
    QuietJob,
    QuietProcess,
    QuietThread,
)
from perfscope.analyzer.run.hangs.wait_reasons import (
    BATCH,
    CHILD,
    EVENT,
    FILE,
    GIL,
    INPUT,
    LOCK,
    LOCK_FILE,
    NETWORK,
    PEERS,
    PIPE,
    QUEUE,
    REQUESTS,
    SLEEP,
    SLEEP_LOOP,
    STOPPED,
    TASK,
    THREAD,
    WORK,
    wait_reason,
)
from perfscope.traces.frames import parse_frame

PLAIN: Final = {
    BATCH: "waits for its batch",
    WORK: "waits for work",
    LOCK_FILE: "waits for a lock file",
    GIL: "waits for the GIL",
    EVENT: "waits for an event",
    THREAD: "waits for the end of a thread",
    TASK: "waits for the result of a task",
    REQUESTS: "waits for requests",
    INPUT: "waits for input",
    SLEEP_LOOP: "sleeps in a loop",
    STOPPED: "is stopped by a signal",
}
MOST_RANKS_LISTED: Final = 8
COLLECTIVE_FILE: Final = "torch/distributed/distributed_c10d.py"
JOINING: Final = ("init_process_group", "rendezvous", "new_group", "_store_based_barrier")


def waited_text(job: QuietJob) -> str:
    """Return how long nothing has moved."""
    return f"{digits(int(job.seconds))} s"


def culprit_text(hang: Hang) -> str:
    """Return who holds up the job, and what that waits for."""
    return f"{who(hang, hang.culprit)} {waits_for(hang.culprit, hang.reason)}"


def place_text(hang: Hang, where: CodeLocation | None) -> str:
    """Return the line as the end of a sentence, "" where none is known.

    Where the thread that holds up the job is not at a line of the program, it is that of a thread
    that waits for it.
    """
    if where is None:
        return ""
    place = where.place
    waiting = hang.named_thread
    if waiting is None or waiting is hang.culprit:
        return f" at {place}"
    return f", and {who(hang, waiting)} waits for it at {place}"


def who(hang: Hang, thread: QuietThread) -> str:
    """Return the name of a thread: by its rank or worker, with its pid."""
    process = hang.job.processes[thread.process]
    name = f"{process_text(hang, process)} (pid {process.pid})"
    if thread.is_main:
        return name
    return f"thread {thread.name or thread.tid} of {name}"


def process_text(hang: Hang, process: QuietProcess) -> str:
    """Return the name of a process."""
    if process.role == MAIN:
        return f"rank {process.rank}" if len(hang.mains) > 1 else "the main process"
    parent = hang.job.processes.get(process.parent)
    of_rank = ""
    if parent is not None and parent.role == MAIN and len(hang.mains) > 1:
        of_rank = f" of rank {parent.rank}"
    if process.role == WORKER:
        return f"loader worker {worker_number(hang.job, process)}{of_rank}"
    thread = process.main_thread
    is_python = thread is not None and bool(thread.labels)
    name = process.name if is_python or thread is None else thread.name
    return f"child process {name}{of_rank}"


def worker_number(job: QuietJob, worker: QuietProcess) -> int:
    """Return the number of a loader worker, by its order where its probe did not report it."""
    if worker.worker >= 0:
        return worker.worker
    siblings = [other for other in job.children(worker.parent) if other.role == WORKER]
    return sorted(other.process for other in siblings).index(worker.process)


def waits_for(thread: QuietThread, reason: str) -> str:
    """Return what a thread waits for, as the predicate of a sentence."""
    plain = PLAIN.get(reason)
    if plain is not None:
        return plain
    if reason == FILE:
        return f"waits in {thread.call}()" if thread.call else "waits for a page of a file"
    if reason == LOCK:
        return "waits for a lock"
    if reason == QUEUE:
        is_put = "put (" in thread.inner or "send" in thread.inner
        return "waits for room in a queue" if is_put else "waits for an item of a queue"
    if reason == PEERS:
        return f"waits in {collective(thread)} for the other ranks"
    if reason == SLEEP:
        return f"sleeps for another {duration(thread.limit_ns / 1e9)}"
    if reason in (NETWORK, PIPE, CHILD):
        return f"waits for {other_end(thread, reason)}"
    return f"waits ({thread.call})" if thread.call else "waits"


def other_end(thread: QuietThread, reason: str) -> str:
    """Return what is at the other end of a socket or pipe, or the child that is waited for."""
    peer = f"{thread.peer} (pid {thread.peer_pid})" if thread.peer_pid > 0 else ""
    if reason == CHILD:
        return f"its child process {peer}".rstrip()
    if reason == PIPE:
        return "data in a pipe" + (f" from {peer}" if peer else "")
    at = thread.target or "a socket"
    return f"data from {at}" + (f" of {peer}" if peer else "")


def collective(thread: QuietThread) -> str:
    """Return the name of a collective, by the function of torch that the program called."""
    labels = [parse_frame(label) for label in thread.inner.split(";")]
    names = [frame.function.rpartition(".")[2] for frame in labels]
    if any(name.startswith(JOINING) for name in names):
        return "the start of the process group"
    for frame, name in zip(labels, names, strict=True):
        if frame.file == COLLECTIVE_FILE and not name.startswith(("_", "wrapper")):
            return f"{name}()"
    if any("backward" in name for name in names):
        return "the all-reduce of its backward pass"
    return "a collective"


def hang_explanation(hang: Hang) -> str:
    """Return what the thread that holds up the job waits for, and who waits for it."""
    sentences = [target_text(hang)]
    for wait in hang.mains:
        if wait.thread is not hang.culprit:
            line = wait.thread.line
            at = "" if line is None else f" at {line}"
            name = who(hang, wait.thread)
            text = f"{name} {waits_for(wait.thread, wait.reason)}{at}"
            sentences.append(f"{text[:1].upper()}{text[1:]}.")
    sentences.append(recorded_collective_text(hang))
    return " ".join(filter(None, sentences))


def recorded_collective_text(hang: Hang) -> str:
    """Return the collective that ranks wait in, where PyTorch has written it down."""
    if hang.collective is None:
        return ""
    first = hang.collective.waiting[0]
    ranks = rank_list(last.rank for last in hang.collective.waiting)
    text = (
        f"PyTorch's Flight Recorder: {ranks} in {first.operation} {first.sequence} of the group"
        f" {first.group}{at_place(first.place)}"
    )
    if not hang.collective.behind:
        return f"{text}."
    last = hang.collective.behind[0]
    others = rank_list(other.rank for other in hang.collective.behind)
    return (
        f"{text}; {others} not yet: the last was {last.operation} {last.sequence}"
        f"{at_place(last.place)}."
    )


def rank_list(ranks: Iterable[int]) -> str:
    """Return the numbers of ranks, the first ones of many."""
    numbers = [str(rank) for rank in ranks]
    more = ", ..." if len(numbers) > MOST_RANKS_LISTED else ""
    shown = ", ".join(numbers[:MOST_RANKS_LISTED])
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {shown}{more}"


def at_place(label: str) -> str:
    """Return a frame as the end of a sentence, "" for none."""
    return f" at {parse_frame(label)}" if label else ""


def target_text(hang: Hang) -> str:
    """Return the file that is waited for, or why nobody ends the wait."""
    culprit, reason = hang.culprit, hang.reason
    process = hang.job.processes[culprit.process]
    if reason in (FILE, LOCK_FILE) and culprit.target:
        return f"The file is {culprit.target}."
    if reason == LOCK and process.role == WORKER and not process.python_threads:
        return (
            "No other thread runs the program's code in that process: the lock was held when the"
            " process was forked, or its holder has ended."
        )
    if hang.alone and reason in (QUEUE, EVENT, LOCK, TASK):
        others = len(process.python_threads)
        if not others:
            return (
                "No other thread of the process runs the program's code: what should end the wait"
                " has ended itself."
            )
        return f"{plural(others, 'other thread')} of the process wait as well."
    if reason == BATCH:
        return batch_text(hang.job, process)
    return ""


def batch_text(job: QuietJob, process: QuietProcess) -> str:
    """Return what the loader's workers do where none of them holds up the job."""
    workers = [child for child in job.children(process.process) if child.role == WORKER]
    if not workers:
        return "No worker process of the loader is left."
    return f"{plural(len(workers), 'worker')} of the loader wait for work: a batch was lost."


def evidence_texts(hang: Hang) -> list[tuple[int, str]]:
    """Return the process and the wait of the thread that holds up the job, and of each rank."""
    has_ranks = len(hang.mains) > 1
    threads = {id(hang.culprit): (hang.culprit, hang.reason)}
    for wait in hang.mains:
        threads.setdefault(id(wait.thread), (wait.thread, wait.reason))
    for process in hang.job.processes.values():
        thread = process.main_thread
        if process.role == WORKER and thread is not None:
            threads.setdefault(id(thread), (thread, wait_reason(thread, has_ranks=has_ranks)))
    return [
        (thread.process, with_line(f"{who(hang, thread)} {waits_for(thread, reason)}", thread))
        for thread, reason in threads.values()
    ]


def with_line(text: str, thread: QuietThread) -> str:
    """Return a sentence about a thread with its line and, for a file, its path."""
    at = "" if thread.line is None else f" at {thread.line}"
    return f"{text}{at}" + (f": {thread.target}" if thread.kind == "file" and thread.target else "")
