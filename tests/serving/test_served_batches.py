"""Servers with batching of their own: parts of requests, window and limit of batches, findings, and
predictions against a simulation with the changed setting.
"""

import io
from dataclasses import replace

import numpy as np
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.serving.batch_policy import BatchPolicy, batch_policy
from perfscope.analyzer.serving.batch_replay import ReplaySettings, batch_replay, replayed_change
from perfscope.analyzer.serving.request_model_calls import request_frame, served_requests
from perfscope.analyzer.serving.request_series import request_series
from perfscope.traces.trace import Trace
from perfscope.ui.html.key_figures import key_figures
from perfscope.ui.html.report import page
from perfscope.ui.html.request_sections import request_sections
from perfscope.ui.terminal.diagnosis_view import show
from tests.build import Rows, trace
from tests.serving.requests_trace import MS
from tests.serving.served_trace import actions_of, names_of_findings
from tests.serving.simulated_server import SimulatedServer, call_row, handled_row

WINDOW = SimulatedServer(rate_per_s=60.0, window=40.0)
SMALL_BATCHES = SimulatedServer(rate_per_s=300.0, largest=2, base=5.0, per_request=0.5)
UNBATCHED = SimulatedServer(rate_per_s=190.0, largest=1, base=5.0, per_request=0.0)
LIGHT = SimulatedServer(rate_per_s=60.0)
BUSY = SimulatedServer(rate_per_s=400.0)
PREPARED = SimulatedServer(rate_per_s=60.0, preparation=8.0)
JOINED_WHILE_HANDED_OVER = SimulatedServer(rate_per_s=140.0, window=0.7, hand_over=0.05, base=2.5)


def policy_of(server: SimulatedServer) -> BatchPolicy:
    [served] = served_requests(server.trace())
    found = batch_policy(served)
    assert found is not None
    return found


def diagnosed(server: SimulatedServer) -> Diagnosis:
    found = diagnose_trace(server.trace())
    assert found.failed == []
    return found


def on_requests(found: Diagnosis) -> list[str]:
    keys = {finding.id for finding in found.findings if finding.scope == "requests"}
    return [name for name in names_of_findings(found) if name.partition("/")[0] in keys]


@pytest.mark.parametrize("server", [WINDOW, SMALL_BATCHES, UNBATCHED, LIGHT, BUSY, PREPARED])
def test_the_parts_of_each_request_sum_to_its_time(server: SimulatedServer) -> None:
    [served] = served_requests(server.trace())
    whole_ms = (served.end_ns - served.arrival_ns) / MS
    assert len(served.call) == server.count
    assert np.allclose(request_frame(served).sum(axis=1), whole_ms)
    assert (request_frame(served) >= 0.0).all(axis=None)
    assert np.allclose(served.after_ns / MS, server.after, atol=1e-3)


def test_window_and_largest_batch_are_inferred() -> None:
    window = policy_of(WINDOW)
    assert window.window_ns == pytest.approx(40.0 * MS, rel=0.01)
    assert window.largest is None
    small = policy_of(SMALL_BATCHES)
    assert (small.window_ns, small.largest) == (0.0, 2)
    assert (policy_of(LIGHT).window_ns, policy_of(LIGHT).largest) == (0.0, None)
    assert (policy_of(BUSY).window_ns, policy_of(BUSY).largest) == (0.0, None)


@pytest.mark.parametrize(
    "server", [LIGHT, BUSY, PREPARED, replace(WINDOW, window=0.2), JOINED_WHILE_HANDED_OVER]
)
def test_servers_that_delay_nobody_get_no_finding(server: SimulatedServer) -> None:
    found = diagnosed(server)
    assert on_requests(found) == []
    assert (found.workload, found.verdict.id) == ("server", "healthy")


def test_a_window_is_a_batching_delay() -> None:
    found = diagnosed(WINDOW)
    assert on_requests(found) == ["batching-delay"]
    assert (found.verdict.id, found.verdict.scope) == ("batching-delay", "requests")
    assert found.bound_by.id == "admission"
    assert actions_of(found)[0] == "shorten-batching-window"
    assert found.requests is not None
    stages = {stage.stage: stage.ms for stage in found.requests.stages}
    assert list(stages) == ["queue", "batching", "model", "after"]
    assert stages["after"] == pytest.approx(0.4, abs=0.01)


def test_requests_in_the_profiling_window_are_left_out_of_the_loss() -> None:
    """The share of the finding is that of the requests whose parts the screens show."""
    [served] = served_requests(WINDOW.trace())
    slow = replace(served, is_distorted=np.arange(len(served.call)) < 50)
    part = slow.batching_ns.copy()
    part[:50] *= 100
    assert slow.mean_ns(part) == part[50:].mean()
    every = replace(served, is_distorted=np.ones(len(served.call), bool))
    assert every.mean_ns(part) == part.mean()


def test_the_key_figures_of_a_server_are_those_of_its_requests() -> None:
    recorded = WINDOW.trace()
    found = diagnose_trace(recorded)
    assert found.requests is not None and found.requests.e2e_ms is not None
    shown = key_figures(found, (), request_series(recorded))
    e2e = found.requests.e2e_ms
    for latency in (e2e.p50, e2e.p90, e2e.p99):
        assert latency.value is not None and ms(latency.value * 1e6) in shown
    assert "requests/s" in shown and "forward pass" not in shown and "passes/s" not in shown
    stages = {stage.stage: stage.ms for stage in found.requests.stages}
    waits = (stages["queue"] + stages["batching"]) / sum(stages.values())
    assert found.requests.wait_share == pytest.approx(waits)
    assert f"<b>{percent(waits)}</b>" in shown
    assert 'class="spark"' in shown


def test_full_batches_with_a_queue_are_an_admission_limit() -> None:
    found = diagnosed(SMALL_BATCHES)
    assert on_requests(found) == ["queueing/admission-limit"]
    assert actions_of(found)[0] == "raise-largest-batch"
    linear = replace(SMALL_BATCHES, base=0.0, per_request=3.0)
    assert on_requests(diagnosed(linear)) == ["queueing/saturated"]


def test_a_model_that_computes_one_request_at_a_time_is_saturated() -> None:
    found = diagnosed(UNBATCHED)
    assert on_requests(found) == ["queueing/saturated"]
    assert actions_of(found)[0] == "reduce-work-per-request"


CHANGES = [
    (WINDOW, replace(WINDOW, window=0.0)),
    (SMALL_BATCHES, replace(SMALL_BATCHES, largest=4)),
    (replace(WINDOW, rate_per_s=150.0, noise=0.2), SimulatedServer(150.0, noise=0.2)),
]
METRICS = (("e2e_p50_ms", 0.5), ("e2e_p99_ms", 0.99))


@pytest.mark.parametrize(("server", "changed"), CHANGES)
def test_a_replay_is_what_the_changed_server_does(
    server: SimulatedServer, changed: SimulatedServer
) -> None:
    [served] = served_requests(server.trace())
    replay = batch_replay(served, policy_of(server), on_cpu=False)
    assert replay is not None
    settings = ReplaySettings(changed.window * MS, changed.largest)
    change = replayed_change(replay, settings)
    assert change is not None
    found = {each.metric: each for each in change.predictions()}
    before, after = server.latencies_ms(), changed.latencies_ms()
    for metric, share in METRICS:
        assert found[metric].before == pytest.approx(np.quantile(before, share), rel=0.01)
        assert found[metric].likely == pytest.approx(np.quantile(after, share), rel=0.1)


@pytest.mark.parametrize(("server", "changed"), CHANGES)
def test_the_bounds_of_a_prediction_contain_the_changed_server(
    server: SimulatedServer, changed: SimulatedServer
) -> None:
    """The simulation has no core that sleeps, which the bounds allow for."""
    [finding] = [each for each in diagnosed(server).findings if each.scope == "requests"]
    found = {each.metric: each for each in finding.actions[0].predictions}
    before, after = server.latencies_ms(), changed.latencies_ms()
    for metric, share in METRICS:
        assert found[metric].low <= np.quantile(after, share) <= found[metric].high
    assert finding.speedup is not None and finding.speedup.likely is not None
    assert finding.speedup.low <= before.mean() / after.mean() <= finding.speedup.high


def test_a_server_that_the_replay_does_not_reproduce_is_not_predicted() -> None:
    """The replay serves the oldest requests first."""
    found = diagnosed(replace(SMALL_BATCHES, newest_first=True))
    [finding] = [each for each in found.findings if each.scope == "requests"]
    assert finding.actions and finding.actions[0].predictions == []
    assert finding.speedup is not None and finding.speedup.likely is None


def test_the_screens_show_the_parts_of_a_request_and_predictions() -> None:
    recorded = WINDOW.trace()
    diagnosis = diagnose_trace(recorded)
    text = io.StringIO()
    show(diagnosis, recorded, text)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.strip().startswith("request ") and "queue" in line for line in lines)
    assert sum("now, predicted" in line for line in lines) == 2
    html = page(recorded, diagnosis)
    card = html[html.index("<h2>Requests</h2>") :].split("</section>")[0]
    assert card.count('class="part') == 4
    assert html.count("<h2>Requests</h2>") == 1
    assert html.count("now, predicted") == 2


@pytest.mark.parametrize("trains", [True, False])
def test_a_program_with_a_page_of_its_state_is_not_a_server(trains: bool) -> None:
    """An inference loop, or training, that answers a health check twice per second."""
    calls = [call_row(20.0 * place, 12.0) for place in range(500)]
    steps = [
        {**row, "category": "optimizer", "name": "SGD", "ts": row["ts"] + 13 * MS, "dur": MS}
        for row in calls
    ]
    checks = [handled_row(number, 500.0 * number, 500.0 * number + 2.0) for number in range(20)]
    rows = [*calls, *(steps if trains else [])]
    found = diagnose_trace(trace(requests=checks, ranges=rows))
    assert found.requests is None
    assert found.workload == ("training" if trains else "inference")
    assert on_requests(found) == []


def test_the_charts_have_the_latencies_over_time_and_the_batches() -> None:
    slower_later = SimulatedServer(rate_per_s=60.0, window=10.0, count=1200)
    requests, calls = slower_later.serve()
    late, _ = replace(slower_later, window=80.0, seed=5).serve()
    shift_ns = requests[-1]["ts"] + 1000 * MS
    late = [{**row, "ts": row["ts"] + shift_ns, "number": row["number"] + 1200} for row in late]
    [series] = request_series(trace(requests=[*requests, *late], ranges=calls))
    intervals = series.intervals
    assert (intervals["p90_ms"] >= intervals["p50_ms"]).all()
    is_late = intervals["ts"] > shift_ns
    assert 5 < is_late.sum() < len(intervals) - 5
    assert intervals["p50_ms"][is_late].min() > intervals["p50_ms"][~is_late].max()
    assert intervals["count"].sum() == 2400
    [batched] = request_series(trace(requests=requests, ranges=calls))
    assert (batched.batches["size"] * batched.batches["count"]).sum() == 1200
    sections = request_sections(trace(requests=requests, ranges=calls))
    assert [section.id for section in sections] == ["latency-0", "batches-0"]


def decoding_server(tokens: int, joined: int) -> Trace:
    """Return a server with continuous batching: each call makes a token of every running request.

    After every `joined` calls a request joins and another one ends.
    """
    calls: Rows = [call_row(10.0 * place, 9.0) for place in range(2000)]
    requests: Rows = []
    for number in range(2000 // joined - tokens // joined - 2):
        begins = number * joined
        arrival, end = 10.0 * begins - 4.0, 10.0 * (begins + tokens) - 0.5
        requests.append(handled_row(number, arrival, end))
    padding = [
        {"ts": row["ts"] - 1000, "source": "call", "rows": max(tokens // joined, 1), "width": 1}
        for row in calls[100::100]
    ]
    return trace(requests=requests, ranges=calls, padding=padding)


@pytest.mark.parametrize(("tokens", "joined"), [(40, 4), (40, 1)])
def test_a_model_called_once_per_token_is_not_divided(tokens: int, joined: int) -> None:
    found = diagnose_trace(decoding_server(tokens, joined))
    assert found.requests is not None and found.requests.stages == []
    assert on_requests(found) == []
    assert {"batching-delay", "queueing"} <= {each.id for each in found.not_checked}


def test_requests_on_threads_of_their_own_have_the_calls_of_their_thread() -> None:
    """Ten threads call the model without a queue: their calls overlap."""
    rng = np.random.default_rng(3)
    requests: Rows = []
    calls: Rows = []
    for thread in range(10):
        at = rng.uniform(0.0, 50.0)
        for _ in range(60):
            at += rng.exponential(60.0)
            calls += [
                {**call_row(at + 2.0, 5.0), "tid": 100 + thread},
                {**call_row(at + 8.0, 5.0), "tid": 100 + thread},
            ]
            ids = {"tid": 100 + thread, "end_tid": 100 + thread}
            requests.append({**handled_row(len(requests), at, at + 14.0), **ids})
            at += 14.0
    ordered = sorted(calls, key=lambda row: row["ts"])
    recorded = trace(requests=sorted(requests, key=lambda row: row["ts"]), ranges=ordered)
    [served] = served_requests(recorded)
    assert len(served.call) == 600
    assert np.allclose(served.model_ns / MS, 11.0, atol=1e-3)
    assert np.allclose((served.queue_ns + served.batching_ns) / MS, 2.0, atol=1e-3)
    assert on_requests(diagnose_trace(recorded)) == []


def test_the_time_without_requests_is_idle_time() -> None:
    requests, calls = LIGHT.serve()
    on_one_thread = [{**row, "tid": 2, "end_tid": 2} for row in requests]
    recorded = trace(requests=on_one_thread, ranges=calls)
    found = diagnose_trace(recorded)
    assert found.failed == []
    idle_s = {entry.category: entry.seconds for entry in found.time_budget}["other-idle"]
    begins = np.array([row["ts"] for row in requests]) / 1e9
    ends = np.maximum.accumulate(begins + np.array([row["dur"] for row in requests]) / 1e9)
    without_s = np.maximum(begins[1:] - ends[:-1], 0.0).sum()
    assert without_s > 0.5 * (ends[-1] - begins[0])
    assert idle_s == pytest.approx(without_s, rel=0.02)


def latencies_of_replicas(server: SimulatedServer, replicas: int) -> np.ndarray:
    """Return the latencies of servers without batches that take the same requests in turn."""
    arrivals = np.array([row["ts"] for row in server.serve()[0]]) / MS
    service = server.hand_over + server.base + server.per_request
    found = []
    for first in range(replicas):
        free = 0.0
        for arrival in arrivals[first::replicas]:
            free = max(free, arrival) + service
            found.append(free - arrival + server.after)
    return np.array(found)


def test_a_second_replica_is_predicted() -> None:
    server = replace(UNBATCHED, rate_per_s=175.0)
    found = diagnosed(server)
    assert on_requests(found) == ["queueing/saturated"]
    predicted = {each.metric: each for each in found.findings[0].actions[0].predictions}
    two = latencies_of_replicas(server, 2)
    for metric, share in METRICS:
        assert predicted[metric].likely == pytest.approx(np.quantile(two, share), rel=0.10)
        assert predicted[metric].before > 1.5 * predicted[metric].high
    assert predicted["requests_per_s"].likely == pytest.approx(175.0, rel=0.05)


@pytest.mark.parametrize(
    "server",
    [
        replace(WINDOW, count=6000),
        replace(UNBATCHED, rate_per_s=90.0, count=12000),
        replace(SMALL_BATCHES, rate_per_s=150.0, count=12000),
        replace(LIGHT, rate_per_s=120.0, count=6000),
    ],
)
def test_other_rates_are_predicted(server: SimulatedServer) -> None:
    """Latencies at a multiple of the rate are those of a server that gets as many requests."""
    found = diagnosed(server).requests
    assert found is not None and found.load
    for point in found.load:
        assert point.requests_per_s == pytest.approx(server.rate_per_s * point.factor, rel=0.05)
        other = replace(server, rate_per_s=server.rate_per_s * point.factor).latencies_ms()
        likely = (point.e2e_ms.p50.value, point.e2e_ms.p99.value)
        assert likely == pytest.approx(tuple(np.quantile(other, [0.5, 0.99])), rel=0.15)
        assert point.e2e_ms.p50.source == "replay"


@pytest.mark.parametrize(
    ("server", "highest_per_s"), [(UNBATCHED, 1e3 / 5.3), (SMALL_BATCHES, 2e3 / 6.3)]
)
def test_the_highest_rate_is_that_of_full_batches(
    server: SimulatedServer, highest_per_s: float
) -> None:
    found = diagnosed(server).requests
    assert found is not None and found.highest_rate_per_s is not None
    assert found.highest_rate_per_s == pytest.approx(highest_per_s, rel=0.03)
    assert max(point.requests_per_s for point in found.load) <= 0.9 * found.highest_rate_per_s


def test_without_a_largest_batch_no_highest_rate_is_known() -> None:
    found = diagnosed(LIGHT).requests
    assert found is not None and found.highest_rate_per_s is None


def test_findings_on_the_metrics_of_engines_say_what_they_need() -> None:
    groups = {unchecked.id: unchecked.group for unchecked in diagnosed(LIGHT).not_checked}
    assert groups["kv-cache-pressure"] == "no-engine-metrics"
    without_requests = diagnose_trace(trace(ranges=LIGHT.serve()[1])).not_checked
    assert {each.id: each.group for each in without_requests}["kv-cache-pressure"] == "no-requests"
