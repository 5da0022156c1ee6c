"""When a recording ends, and why."""

import time

from perfscope.agent.collectors import EngineMetrics, Kernels, OnDemand, Waits
from perfscope.agent.recording.collector_runner import CollectorRunner
from perfscope.agent.recording.recording_plan import Plan, Progress

ENOUGH_STEPS = 20
ENOUGH_S = 10.0
ENOUGH_REQUESTS = 100
"""The 99th percentile of latencies is not known with fewer."""
FEWEST_REQUESTS = 20
ENOUGH_METRICS_S = 30.0
"""An engine's metrics are read once per second; a bootstrap over readings needs twenty."""
STUCK_S = 7.0
"""A job that has made no progress for so long hangs, unless it will certainly continue. A longer
recording would show nothing more.
"""


def reason_to_end(plan: Plan, progress: Progress, collectors: CollectorRunner) -> str | None:
    """Return why the recording ends now, None while it goes on."""
    elapsed_s = progress.elapsed_s
    if plan.duration_s is not None:
        is_over = elapsed_s >= plan.duration_s
        return f"recorded for the requested {plan.duration_s:g} s" if is_over else None
    if plan.follow:
        return None
    waits = collectors.find(Waits)
    stuck_s = waits.stuck_s(time.monotonic_ns()) if waits is not None else 0.0
    if stuck_s >= STUCK_S:
        return f"the job has made no progress for {stuck_s:.0f} s"
    if elapsed_s >= ENOUGH_S:
        evidence = enough_evidence(progress, collectors)
        if evidence is not None:
            return evidence
    if elapsed_s >= plan.max_duration_s:
        return f"reached the maximum duration of {plan.max_duration_s:g} s"
    return None


def enough_evidence(progress: Progress, collectors: CollectorRunner) -> str | None:
    """Return what has been collected if that is enough for a diagnosis, else None."""
    metrics = collectors.find(EngineMetrics)
    if metrics is not None and metrics.readings:
        is_enough = progress.elapsed_s >= ENOUGH_METRICS_S
        return f"read the engine's metrics {metrics.readings} times" if is_enough else None
    kernels = collectors.find(Kernels)
    is_waiting_for_window = kernels is not None and not kernels.is_complete
    if progress.requests and not is_waiting_for_window:
        return enough_requests(progress)
    undistorted_steps = progress.steps - (kernels.distorted_steps if kernels is not None else 0)
    if undistorted_steps >= ENOUGH_STEPS and not is_waiting_for_window:
        return f"collected {undistorted_steps} steps in {progress.elapsed_s:.0f} s"
    on_demand = collectors.find(OnDemand)
    if on_demand is not None and on_demand.is_complete:
        return "received the profiling window from Kineto"
    return None


def enough_requests(progress: Progress) -> str | None:
    """Return how many requests a server has answered, None where that is not enough.

    The steps of a server are calls of its model, of which a request can need many.
    """
    wanted = ENOUGH_REQUESTS if progress.elapsed_s < ENOUGH_METRICS_S else FEWEST_REQUESTS
    if progress.requests < wanted:
        return None
    return f"recorded {progress.requests} requests in {progress.elapsed_s:.0f} s"
