"""Nothing in the job moves: a thread waits for something that does not come.

What it means
    No process of the job uses CPU time, none reads or writes, and no thread goes on to another line
    of the program. The time since then is lost, and it goes on until somebody ends the job.

How it is detected
    While the job is quiet, the recorder reads from outside what every thread waits for (the system
    call, its file, peer, lock or child) and its Python stack. Nothing has moved for at least 6 s.
    From the main threads the waits are followed: from a wait for a batch to the loader's workers,
    from a lock, queue or task to the threads and processes that could end it, from a collective to
    the ranks that are elsewhere. The line that is named is that of the thread at the end.

What to do
    Look at the line that is named, and at what it waits for: a file of a mount that does not
    answer, a lock that nobody releases, a thread or process that has died, a rank that left the
    loop. Restarting without removing the cause ends in the same place.

When it is wrong
    Waits that end by themselves are not reported: a sleep of less than a minute, data from another
    host that may still come (for the first minute), a server without requests, input of a person.
    A transfer or a call that sends nothing for the whole recording looks like a hang. Who holds a
    lock is not recorded: of several threads that could, the one that itself waits longest for
    something outside of Python is named. Threads without Python frames are not followed.
"""

from perfscope.analyzer.diagnosis import CodeLocation, Evidence, Finding, Interval
from perfscope.analyzer.host.hang_text import (
    culprit_text,
    evidence_texts,
    explanation,
    place_text,
    waited_text,
)
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.hung_job import Hang, still_job
from perfscope.analyzer.run.quiet_job import QuietThread
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.traces.trace import Trace

ID = "hang"
CERTAIN = Interval(1.0, 1.0, 1.0)
"""The share of a line at which a thread was the whole time."""


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why a hang cannot be checked: waits could not be read."""
    if table(trace, "waits") is not None:
        return None
    source = next((one for one in manifest(trace).sources if one.name == "waits"), None)
    if source is None:
        return Unmet("other", "recorded by a version that does not read what threads wait for")
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
            f" {culprit_text(hang)}{place_text(where)}"
        ),
        explanation=explanation(hang),
        caveat=None,
        evidence=evidence(hang),
        actions=[],
        processes=processes_of(hang),
        scope="run",
        where=where,
    )


def processes_of(hang: Hang) -> list[int]:
    """Return the process that holds up the job, and the ranks."""
    codes = [hang.culprit.process, *(wait.thread.process for wait in hang.mains)]
    return list(dict.fromkeys(codes))


def where_of(hang: Hang) -> CodeLocation | None:
    """Return the line of the thread that holds up the job, else that of the first rank."""
    threads: list[QuietThread] = [hang.culprit, *(wait.thread for wait in hang.mains)]
    thread = next((thread for thread in threads if thread.line is not None), None)
    if thread is None or thread.line is None:
        return None
    line, file = thread.line, thread.line.file.removeprefix("./")
    return CodeLocation(line.function, file, line.line, None, thread.process, CERTAIN)


def evidence(hang: Hang) -> list[Evidence]:
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
)
