"""Requests wait for a batch to fill while the model is idle.

What it means
    A server with dynamic batching holds a request back until its batch is full or a time limit has
    passed. While the model is idle, that wait is added to the latency of each request, and saves
    computing time that nobody needs.

How it is detected
    The probe records when requests arrive and are answered (`perfscope.request()`, or the handlers
    of uvicorn and Flask), and when the model is called. A wait during which no call runs is a wait
    for the batch. Waits end by a time limit where they are the same for most batches that are not
    full, and longer than 2 ms. What the requests that come last wait is not counted: it is the time
    to hand a request over. The finding is given where the rest is at least 5 % of the time of the
    requests.

What to do
    Lower the time limit of the batcher, or begin a batch as soon as the model is free: under load,
    requests still form batches while the model works. The prediction replays the recorded arrivals
    without the limit; it is given where a replay with the limit reproduces the recording.

When it is wrong
    Larger batches use less energy and leave the device to others. A limit that is needed at the
    highest load can look useless in a recording of an hour with little.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.serving.batch_policy import least_hand_over_ns
from perfscope.analyzer.serving.batch_replay import ReplaySettings, replayed_change
from perfscope.analyzer.serving.served_findings import (
    BatchedServer,
    batched_servers,
    finding_on_batches,
    missing_batches,
    sizes_text,
    with_change,
)
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
    servers = [server for server in trace.fact(batched_servers) if server.policy.window_ns > 0.0]
    if not servers:
        return None
    server = max(servers, key=lost_ns)
    if lost_ns(server) < limits.recoverable_share * server.mean_e2e_ns:
        return None
    return found_delay(server, limits)


def lost_ns(server: BatchedServer) -> float:
    """Return the mean time that a request waits for its batch to fill, in nanoseconds."""
    served = server.served
    return max(float(served.batching_ns.mean()) - least_hand_over_ns(served), 0.0)


def found_delay(server: BatchedServer, limits: Limits) -> Finding:
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
    return with_change(finding, shorten(server), replayed_change(server.replay, without_window))


def shorten(server: BatchedServer) -> list[Action]:
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
    missing_batches,
    detect,
    needs=("requests",),
    in_traces=False,
    color="other-idle",
    advice=(SHORTEN_WINDOW,),
)
