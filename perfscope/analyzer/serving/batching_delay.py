"""Requests wait for a batch to fill while the model is idle.

What it means
    A server with dynamic batching holds a request back until its batch is full or a time limit has
    passed. While the model is idle, that wait is added to the latency of each request, and saves
    computing time that nobody needs.

How it is detected
    The probe records when requests arrive and are answered (`perfscope.request()`, or the handlers
    of uvicorn and Flask), and when the model is called. A wait during which no call runs is a wait
    for the batch. Waits end by a time limit where they are the same for most batches that are not
    full, and longer than 2 ms. The shortest of these waits is subtracted from each, because handing
    over a request takes that long. What remains is at least 5 % of the time of the requests.

    In the counters of Triton: requests of a model wait more than three times as long as random
    arrivals would (M/M/1). The wait is the same in each second and at least 5 % of their time, and
    an instance executes less than 70 % of the time.

What to do
    Lower the time limit of the batcher, or begin a batch as soon as the model is free: under load,
    requests still form batches while the model works. The prediction replays the recorded arrivals
    without the limit; it is given where a replay with the limit reproduces the recording.

When it is wrong
    Larger batches use less energy and leave the device to others. A limit that is needed at peak
    load can look useless in a recording at low load.
"""

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.serving.batch_policy import least_hand_over_ns
from perfscope.analyzer.serving.batch_replay import ReplaySettings, replayed_change
from perfscope.analyzer.serving.batching_finding_parts import (
    BatchedServer,
    batched_servers,
    finding_on_batches,
    missing_batches,
    sizes_text,
    with_change,
)
from perfscope.analyzer.serving.engine_finding_parts import (
    Loss,
    fact,
    missing_requests,
    request_finding,
    used_servers,
)
from perfscope.analyzer.serving.filling_batches import FillingBatches, filling_batches
from perfscope.traces.trace import Trace

ID = "batching-delay"

SHORTEN_WINDOW = Advice(
    "shorten-batching-window",
    "begin a batch when the model is free, without waiting for more requests",
    "model-is-idle-while-batches-fill",
    "Most batches wait for the same time after their first request, and no model call runs"
    " meanwhile.",
)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on the server whose requests lose most to batches that fill."""
    cases = [filling_batches(load, limits) for load in used_servers(trace)]
    worst = max((case for case in cases if case), key=lambda case: case.share, default=None)
    if worst is not None:
        return delay_by_counters(worst, limits)
    servers = [server for server in trace.fact(batched_servers) if server.policy.window_ns > 0.0]
    if not servers:
        return None
    server = max(servers, key=lost_ns)
    if lost_ns(server) < limits.recoverable_share * server.mean_e2e_ns:
        return None
    return delay_finding(server, limits)


def missing_delays(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why batches cannot be judged: neither their counters nor recorded requests."""
    if table(trace, "engine_metrics") is None:
        return missing_batches(trace, limits)
    unmet = missing_requests(trace, limits)
    if unmet is None and all(load.samples.engine.id != "triton" for load in used_servers(trace)):
        return Unmet("other", "the engine does not count its batches and their waits")
    return unmet


def delay_by_counters(case: FillingBatches, limits: Limits) -> Finding:
    """Return the finding on a model whose requests wait while its instances are idle."""
    load, share, wait = case.load, percent(case.share), ms(case.wait_s * 1e9)
    message = Message(
        f"Batching delay: requests of `{case.model}` wait {share} of their time for batches to"
        " fill",
        explanation=(
            f"Each waits {wait}, although an instance of the model executes only"
            f" {percent(case.busy_share)} of the time. The result is {digits(case.batch)} requests"
            " per batch."
        ),
        caveat="Without the wait, batches are smaller, and the model computes more of the time.",
    )
    finding = request_finding((ID, None), load, Loss(case.share), message, limits)
    busy = f"an instance executes {percent(case.busy_share)} of the time"
    return msgspec.structs.replace(
        finding,
        evidence=[
            fact(load, f"a request waits {wait}", case.wait_s * 1e3, "ms"),
            fact(load, busy, case.busy_share, "share"),
            fact(load, f"{digits(case.batch)} requests per execution", case.batch, "requests"),
        ],
        actions=SHORTEN_WINDOW.given(
            True, busy, snippet="dynamic_batching { max_queue_delay_microseconds: 0 }"
        ),
    )


def lost_ns(server: BatchedServer) -> float:
    """Return the mean time that a request waits for its batch to fill, in nanoseconds."""
    served = server.served
    return max(served.mean_ns(served.batching_ns) - least_hand_over_ns(served), 0.0)


def delay_finding(server: BatchedServer, limits: Limits) -> Finding:
    """Return the finding on a server that waits for batches to fill."""
    window, share = ms(server.policy.window_ns), lost_ns(server) / server.mean_e2e_ns
    message = Message(
        f"Batching delay: requests wait {percent(share)} of their time for batches to fill",
        explanation=(
            f"A batch waits {window} for more requests while the model is idle, which computes"
            f" {percent(server.served.busy_share)} of the time. The result is"
            f" {sizes_text(server.policy)}."
        ),
        caveat="Without the wait, batches are smaller, and the model computes more of the time.",
    )
    finding = finding_on_batches((ID, None), server, lost_ns(server), message, limits)
    without_window = ReplaySettings(0.0, server.policy.largest)
    return with_change(
        finding, advise_shorter_window(server), replayed_change(server.replay, without_window)
    )


def advise_shorter_window(server: BatchedServer) -> list[Action]:
    """Return the advice not to wait."""
    window = ms(server.policy.window_ns)
    return SHORTEN_WINDOW.given(
        True,
        f"batches wait {window}; the model computes {percent(server.served.busy_share)} of the"
        " time",
        text=f"{SHORTEN_WINDOW.text}: lower the window from {window} to 0",
    )


RULE = Rule(
    ID,
    missing_delays,
    detect,
    in_traces=False,
    color="other-idle",
    advice=(SHORTEN_WINDOW,),
)
