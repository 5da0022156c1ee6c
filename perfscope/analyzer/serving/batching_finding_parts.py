"""What the findings on requests of a server's own batching share: loss, evidence, predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.table_access import uses_device
from perfscope.analyzer.serving.batch_policy import BatchPolicy, batch_policy
from perfscope.analyzer.serving.batch_replay import BatchReplay, ReplayedChange, batch_replay
from perfscope.analyzer.serving.request_log import request_logs
from perfscope.analyzer.serving.request_model_calls import ServedRequests, served_requests
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class BatchedServer:
    """A process that answers requests, how it makes batches, and a replay of them, if possible."""

    served: ServedRequests
    policy: BatchPolicy
    replay: BatchReplay | None

    @property
    def mean_e2e_ns(self) -> float:
        """The mean time of a request."""
        return self.served.mean_ns(self.served.end_ns - self.served.arrival_ns)


def batched_servers(trace: Trace) -> list[BatchedServer]:
    """Return the processes whose requests and batches are known."""
    found = []
    for served in trace.fact(served_requests):
        policy = batch_policy(served)
        if policy is not None:
            replay = batch_replay(served, policy, on_cpu=not uses_device(trace))
            found.append(BatchedServer(served, policy, replay))
    return found


def missing_batches(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why batches cannot be judged: no requests, too few, or calls of unknown requests."""
    logs = trace.fact(request_logs)
    if not logs:
        return Unmet("no-requests", "no requests were seen")
    if max(len(log.undistorted) for log in logs) < limits.fewest_requests:
        return Unmet("too-short", f"fewer than {limits.fewest_requests} complete requests")
    if not trace.fact(batched_servers):
        return Unmet("other", "it is not known which calls of the model answer which requests")
    return None


def finding_on_batches(
    name: tuple[str, str | None],
    server: BatchedServer,
    lost_ns: float,
    message: Message,
    limits: Limits,
) -> Finding:
    """Return a finding on the requests of a server; `name` is its id and its cause, `lost_ns` the
    mean time that each request loses.

    Its lost time is its share of the recording: requests overlap, so their own times add up to
    more.
    """
    share = min(max(lost_ns / max(server.mean_e2e_ns, 1.0), 0.0), 0.99)
    log = server.served.log
    return Finding(
        id=name[0],
        cause=name[1],
        severity=severity_of(share, limits),
        processes=[log.process],
        lost_s=round(share * log.span_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / (1.0 - share), 3)),
        headline=message.headline,
        explanation=message.explanation,
        caveat=message.caveat,
        evidence=batch_evidence(server),
        actions=[],
        scope="requests",
    )


def batch_evidence(server: BatchedServer) -> list[Evidence]:
    """Return the parts of a request, the batches, and how busy the model is."""
    served, policy = server.served, server.policy
    parts = (
        ("waits while the model is idle", served.batching_ns),
        ("waits while the model works on others", served.queue_ns),
        ("is computed", served.model_ns),
    )
    means = [(text, served.mean_ns(part)) for text, part in parts]
    facts = [
        fact_of_server(server, f"a request {text} for {ms(mean_ns)}", mean_ns / 1e6)
        for text, mean_ns in means
    ]
    texts = f"{plural(policy.mean_size, 'request')} per batch on average"
    busy = f"the model computes {percent(served.busy_share)} of the time"
    return [
        *facts,
        fact_of_server(server, texts, policy.mean_size, "requests"),
        fact_of_server(server, busy, served.busy_share, "share"),
    ]


def fact_of_server(server: BatchedServer, text: str, value: float, unit: str = "ms") -> Evidence:
    """Return a measured value, with the interval of the requests."""
    return Evidence(
        text=text,
        value=round(float(value), 4),
        unit=unit,
        start_ns=int(server.served.arrival_ns.min()),
        end_ns=int(server.served.end_ns.max()),
        process=server.served.log.process,
    )


def with_change(
    finding: Finding, actions: Sequence[Action], change: ReplayedChange | None
) -> Finding:
    """Return the finding with its actions, and what a replay of the first one predicts."""
    if change is None or not actions:
        return msgspec.structs.replace(finding, actions=list(actions))
    first = msgspec.structs.replace(actions[0], predictions=change.predictions())
    return msgspec.structs.replace(finding, actions=[first, *actions[1:]], speedup=change.speedup())


def waiting_share(server: BatchedServer) -> float:
    """Return the share of the time in which any request was passed over by a model call."""
    served = server.served
    is_over = served.passed_over_ns > 0
    ends = served.service_begin_ns[is_over]
    begins = ends - served.passed_over_ns[is_over]
    if not len(begins):
        return 0.0
    order = np.argsort(begins)
    begins, reached = begins[order], np.maximum.accumulate(ends[order])
    gaps = np.maximum(begins[1:] - reached[:-1], 0).sum()
    whole_ns = int(served.end_ns.max() - served.arrival_ns.min())
    return float((reached[-1] - begins[0] - gaps) / max(whole_ns, 1))


def sizes_text(policy: BatchPolicy) -> str:
    """Return `6.1 requests per batch`."""
    return f"{digits(policy.mean_size)} requests per batch"
