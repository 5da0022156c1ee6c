"""The job makes no progress: a thread waits for something that never arrives.

What it means
    No process of the job uses CPU time, none reads or writes, and no thread moves to another line
    of the program. All time from then on is lost, until somebody ends the job.

How it is detected
    While the job is quiet, the recorder reads from outside what every thread waits for (the system
    call, its file, peer, lock or child) and its Python stack. Nothing changes for at least 6 s. The
    waits are followed from the main threads: from a wait for a batch to the loader's workers, from
    a lock, queue or task to the threads and processes that could end it, from a collective to the
    ranks that are elsewhere. The named line is that of the last thread in this chain.

What to do
    Look at the line that is named, and at what it waits for: a file of a mount that does not
    answer, a lock that nobody releases, a thread or process that has died, a rank that left the
    loop. After a restart without a fix, the job hangs at the same place.

When it is wrong
    Waits that will end are not reported: a sleep of less than a minute, data from another host that
    may still arrive (for the first minute), a server without requests, user input. A transfer or a
    call that sends nothing for the whole recording looks like a hang. Which thread holds a lock is
    not recorded. Of several candidates, the one that has waited longest for something outside of
    Python is named. Threads without Python frames are not followed.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence, Finding, Interval
from perfscope.analyzer.host.hang_text import (
    culprit_text,
    evidence_texts,
    hang_explanation,
    place_text,
    waited_text,
    who,
)
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.hangs.hung_job import Hang, still_job
from perfscope.analyzer.run.hangs.job_without_progress import MAIN, WORKER
from perfscope.analyzer.run.hangs.wait_reasons import LOCK, NETWORK, PEERS, QUEUE, SLEEP, SLEEP_LOOP
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.traces.trace import Trace

ID = "hang"
CERTAIN = Interval(1.0, 1.0, 1.0)
"""The share of a line at which a thread was the whole time."""


CREATE_LOCKS_IN_WORKERS = Advice(
    "create-locks-in-workers",
    "create the lock in each worker, or start the workers without a fork",
    "lock-held-at-fork",
    "A forked worker waits for a lock, and runs the program's code on no other thread.",
)
PASS_ON_EXCEPTIONS = Advice(
    "pass-on-exceptions-of-producers",
    "catch the exceptions of what fills the queue, put them into the queue, and raise them where it"
    " is read",
    "queue-without-producer",
    "The main thread waits for an item of a queue, and no other thread of the process and no child"
    " process runs the program's code.",
)
RUN_THE_SAME_COLLECTIVES = Advice(
    "run-the-same-collectives",
    "run the same collectives in all ranks, with an equal number of steps in each",
    "rank-outside-of-collective",
    "Ranks wait in a collective while the main thread of another one is at another line and waits"
    " for no file, peer or worker.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why a hang cannot be checked: waits could not be read."""
    if table(trace, "waits") is not None:
        return None
    source = next((kept for kept in manifest(trace).sources if kept.name == "waits"), None)
    if source is None:
        return Unmet("other", "the recording does not contain what threads wait for")
    if source.status == "ok":
        return None
    return Unmet("not-permitted", source.reason or "what threads wait for could not be read")


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the job hangs at the end of the recording."""
    still = trace.fact(still_job)
    if still is None or still.hang is None:
        return None
    hang = still.hang
    begin_ns, end_ns = recorded_span_ns(trace)
    lost_s = hang.job.seconds
    share = min(lost_s / max((end_ns - begin_ns) / 1e9, 1e-9), 1.0)
    where = where_of(hang)
    return Finding(
        id=ID,
        cause=None,
        severity="critical",
        lost_s=round(lost_s, 4),
        share=round(share, 4),
        speedup=None,
        headline=(
            f"Nothing has progressed for at least {waited_text(hang.job)}:"
            f" {culprit_text(hang)}{place_text(hang, where)}"
        ),
        explanation=hang_explanation(hang),
        caveat=caveat_about_peer(hang),
        evidence=hang_evidence(hang),
        actions=hang_actions(hang),
        processes=stuck_processes(hang),
        scope="run",
        where=where,
    )


def hang_actions(hang: Hang) -> list[Action]:
    """Return the changes that the kind of the wait allows."""
    thread, process = hang.culprit, hang.job.processes[hang.culprit.process]
    waiting = [wait for wait in hang.mains if wait.reason == PEERS and wait.thread is not thread]
    is_alone = not process.python_threads and not any(
        child.has_program for child in hang.job.children(process.process)
    )
    return [
        *CREATE_LOCKS_IN_WORKERS.given(
            hang.reason == LOCK and process.role == WORKER and thread.is_forked and is_alone,
            f"{culprit_text(hang)} and has no other thread in the program's code",
            snippet='DataLoader(..., multiprocessing_context="spawn")',
        ),
        *PASS_ON_EXCEPTIONS.given(
            hang.reason == QUEUE and thread.is_main and process.role == MAIN and is_alone,
            f"{culprit_text(hang)}, and nothing else runs the program's code",
        ),
        *RUN_THE_SAME_COLLECTIVES.given(
            bool(waiting) and thread.is_main and hang.reason in (SLEEP, SLEEP_LOOP, PEERS),
            f"{plural(len(waiting), 'rank')} in a collective that {who(hang, thread)} does not"
            " reach",
        ),
    ]


def caveat_about_peer(hang: Hang) -> str | None:
    """Return what is not known of a peer outside of the job, None without one."""
    is_outside = hang.job.by_pid(hang.culprit.peer_pid) is None
    if hang.reason != NETWORK or not is_outside:
        return None
    return "If that process sends it work, it may have none: the job is then idle."


def stuck_processes(hang: Hang) -> list[int]:
    """Return the process that holds up the job, and the ranks."""
    codes = [hang.culprit.process, *(wait.thread.process for wait in hang.mains)]
    return list(dict.fromkeys(codes))


def where_of(hang: Hang) -> CodeLocation | None:
    """Return the line of the thread that holds up the job, or of one that waits for it."""
    thread = hang.named_thread
    if thread is None or thread.line is None:
        return None
    line, file = thread.line, thread.line.file.removeprefix("./")
    return CodeLocation(line.function, file, line.line, None, thread.process, CERTAIN)


def hang_evidence(hang: Hang) -> list[Evidence]:
    """Return what each thread on the way waits for."""
    return [
        Evidence(
            text,
            round(hang.job.seconds, 3),
            "s",
            start_ns=hang.job.begin_ns,
            end_ns=hang.job.end_ns,
            process=process,
            lane="main",
        )
        for process, text in evidence_texts(hang)
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    in_traces=False,
    across_hosts=True,
    outranks_others_if_critical=True,
    prevents_others=True,
    advice=(CREATE_LOCKS_IN_WORKERS, PASS_ON_EXCEPTIONS, RUN_THE_SAME_COLLECTIVES),
    color="other-idle",
)
