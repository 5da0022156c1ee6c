"""The recorded time by the program's own functions and lines."""

import pytest

from perfscope.analyzer.check_findings import line_of_finding
from perfscope.analyzer.diagnosis import CodeCost, Finding
from perfscope.analyzer.run.stacks.sample_shares import share_interval
from perfscope.analyzer.summary.code_costs import code_costs
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop

MAIN = "<module> (./train.py:50);main (./train.py:40)"
FORWARD = f"{MAIN};_call_impl (torch/nn/modules/module.py:1789);Net.forward (./model.py:8)"
LINEAR = f"{FORWARD};forward (torch/nn/modules/linear.py:134)"
LOG = "<module> (./train.py:50);main (./train.py:44);log (./log.py:3);write (codecs.py:9)"


def sampled_trace(stacks: list[str], table: str = "stacks", *, weight_ms: int = 100) -> Trace:
    """Return a recording with steps of 500 ms and one sample of each stack in turn."""
    loop = Loop()
    for _ in range(len(stacks) * weight_ms // 500):
        loop.next(100).optimizer(400)
    loop.tables[table] = [
        {
            "process": 0,
            "tid": 100,
            "ts": (number * weight_ms + weight_ms // 2) * MS,
            "weight_ns": weight_ms * MS,
            "stack": stack,
        }
        for number, stack in enumerate(stacks)
    ]
    return loop.trace()


def flat(costs: list[CodeCost]) -> list[CodeCost]:
    """Return costs and all costs below them."""
    return [found for cost in costs for found in (cost, *flat(cost.children))]


def self_seconds(trace: Trace) -> dict[str, float]:
    """Return the self time by place, `file:line`, over both phases."""
    seconds: dict[str, float] = {}
    for cost in flat(code_costs(trace, 0)):
        place = f"{cost.file}:{cost.line}"
        seconds[place] = seconds.get(place, 0.0) + cost.self_s
    return seconds


def test_frames_of_packages_are_folded_into_the_programs_call() -> None:
    trace = sampled_trace([LINEAR, LINEAR, FORWARD, LOG, LOG] * 20)
    seconds = self_seconds(trace)
    recorded_s = sum(seconds.values())
    assert set(seconds) == {"train.py:50", "train.py:40", "model.py:8", "train.py:44", "log.py:3"}
    assert seconds["model.py:8"] / recorded_s == pytest.approx(0.6, abs=0.01)
    assert seconds["log.py:3"] / recorded_s == pytest.approx(0.4, abs=0.01)


def test_self_times_sum_to_the_recorded_time() -> None:
    trace = sampled_trace([LINEAR, LOG] * 50)
    assert sum(self_seconds(trace).values()) == pytest.approx(10.0, rel=0.02)


def test_a_share_has_the_interval_that_its_samples_allow() -> None:
    costs = flat(code_costs(sampled_trace([LINEAR, LOG] * 50), 0))
    logs = next(cost for cost in costs if cost.function == "log" and cost.phase == "steps")
    likely = logs.total_s / 10.0
    assert logs.share.likely == pytest.approx(likely, abs=0.01)
    assert (logs.share.low, logs.share.high) == share_interval(logs.share.likely, 100)
    assert share_interval(0.5, 100) == pytest.approx((0.402, 0.598), abs=0.001)


def test_samples_from_outside_are_preferred() -> None:
    biased, unbiased = sampled_trace([LINEAR] * 100), sampled_trace([LOG] * 100, "outside_stacks")
    loop_tables = biased.table("stacks"), unbiased.table("outside_stacks")
    assert all(len(table) == 100 for table in loop_tables)
    assert "log.py:3" in self_seconds(unbiased)


@pytest.mark.parametrize("stacks", [[LINEAR] * 19, ["wait (threading.py:3)"] * 100])
def test_no_costs_with_too_few_samples_or_none_of_the_program(stacks: list[str]) -> None:
    assert code_costs(sampled_trace(stacks), 0) == []


def test_code_of_a_command_line_is_the_programs_and_generated_code_is_not() -> None:
    typed = "<module> (<string>:4);work (<string>:2)"
    generated = f"{MAIN};__init__ (<string>:2)"
    assert set(self_seconds(sampled_trace([typed] * 100))) == {"<string>:4", "<string>:2"}
    assert set(self_seconds(sampled_trace([generated] * 100))) == {"train.py:50", "train.py:40"}


def test_the_module_that_python_runs_is_the_program() -> None:
    run = "_run_module_as_main (<frozen runpy>:198);_run_code (<frozen runpy>:88)"
    script = f"{run};<module> (trl/scripts/sft.py:9);main (trl/scripts/sft.py:5);train (trl/a.py:1)"
    places = {"trl/scripts/sft.py:9", "trl/scripts/sft.py:5"}
    assert set(self_seconds(sampled_trace([script] * 100))) == places


NEXT = "main (./train.py:40);__next__ (torch/utils/data/dataloader.py:700)"
READ = f"{NEXT};fetch (torch/utils/data/_utils/fetch.py:50);Data.read (./data.py:8);open (io.py:3)"
SAVE = "main (./train.py:44);save (torch/serialization.py:9)"


def finding_of(id: str, cause: str | None = None) -> Finding:
    """Return a finding about process 0."""
    return Finding(id, cause, "warning", 1.0, 0.5, None, "", [], [], processes=[0])


@pytest.mark.parametrize(
    ("id", "cause", "place"),
    [
        ("input-bound", "in-process-loading", "data.py:8"),
        ("input-bound", "unknown-loader", "model.py:8"),
        ("launch-bound", None, "model.py:8"),
        ("checkpoint-stall", None, "train.py:44"),
        ("gc-pause", None, None),
    ],
)
def test_a_finding_is_located_in_its_own_samples(
    id: str, cause: str | None, place: str | None
) -> None:
    trace = sampled_trace([READ, READ, LINEAR, LINEAR, LINEAR, SAVE] * 30, "outside_stacks")
    where = line_of_finding(finding_of(id, cause), trace)
    assert (None if where is None else f"{where.file}:{where.line}") == place


def test_a_line_needs_twenty_samples() -> None:
    trace = sampled_trace([LINEAR] * 90 + [READ] * 10, "outside_stacks")
    assert line_of_finding(finding_of("input-bound", "in-process-loading"), trace) is None


BACKWARD = f"{MAIN};backward (torch/_tensor.py:500);backward (torch/autograd/__init__.py:300)"


def trace_of_waits(stacks: list[str]) -> Trace:
    """Return steps of 100 ms in the loader, 300 in backward and 100 elsewhere, with samples."""
    loop = Loop()
    for _ in range(len(stacks) // 5):
        loop.next(100).backward(300).forward(50).optimizer(50)
    loop.tables["outside_stacks"] = [
        {"process": 0, "tid": 100, "ts": at, "weight_ns": 100 * MS, "stack": stack}
        for at, stack in zip(range(100 * MS, loop.at, 100 * MS), stacks, strict=False)
    ]
    return loop.trace()


def test_samples_agree_with_the_calls_that_were_timed() -> None:
    """The sampler had a core while the thread waited: half of its samples are in the loader."""
    seconds = self_seconds(trace_of_waits([READ] * 5 * 20 + ([BACKWARD] * 3 + [LINEAR] * 2) * 20))
    whole_s = sum(seconds.values())
    assert seconds["data.py:8"] / whole_s == pytest.approx(0.2, abs=0.01)
    assert seconds["train.py:40"] / whole_s == pytest.approx(0.6, abs=0.01)
    assert seconds["model.py:8"] / whole_s == pytest.approx(0.2, abs=0.01)


def test_samples_of_something_else_keep_their_weight() -> None:
    """The loop's loader is not what the calls show: a twentieth of the samples is far too few."""
    seconds = self_seconds(trace_of_waits(([BACKWARD] + [LINEAR] * 19) * 10))
    whole_s = sum(seconds.values())
    assert seconds["train.py:40"] / whole_s == pytest.approx(0.05, abs=0.01)


def test_where_a_model_has_many_lines_the_call_of_the_model_is_named() -> None:
    call = "_wrapped_call_impl (torch/nn/modules/module.py:1)"
    layers = [f"{MAIN};{call};forward (./model.py:{line});{call}" for line in range(1, 11)]
    where = line_of_finding(
        finding_of("launch-bound"), sampled_trace(layers * 10, "outside_stacks")
    )
    assert where is not None and (where.file, where.line) == ("train.py", 40)
    scattered = [f"<module> (./train.py:{line})" for line in range(1, 11)]
    assert line_of_finding(finding_of("launch-bound"), sampled_trace(scattered * 10)) is None


def test_validation_is_located_at_its_call_of_the_model() -> None:
    call = "_wrapped_call_impl (torch/nn/modules/module.py:1)"
    stacks = [f"main (./train.py:8);validate (./train.py:3);{call};forward (./model.py:7)"]
    loop = Loop()
    for _ in range(40):
        loop.forward(100, training=0)
    loop.tables["outside_stacks"] = [
        {"process": 0, "tid": 100, "ts": at, "weight_ns": 50 * MS, "stack": stacks[0]}
        for at in range(50 * MS, loop.at, 50 * MS)
    ]
    loop.next(10).work().next(10).work()
    where = line_of_finding(finding_of("validation-time"), loop.trace())
    assert where is not None and (where.file, where.line) == ("train.py", 3)


def test_the_time_of_workers_is_located_in_their_stacks() -> None:
    worker = {**build.MAIN, "process": 1, "pid": 200, "ns_pid": 200, "role": "loader-worker"}
    loop, stack = Loop(), "fetch (torch/utils/data/_utils/fetch.py:50);Data.read (./data.py:9)"
    for _ in range(20):
        loop.next(100).optimizer(400)
    loop.sampled("stacks", 100, stack=stack, weight_ns=100 * MS)
    for row in loop.tables["stacks"]:
        row["process"], row["tid"] = 1, 200
    trace = loop.trace(processes=[build.MAIN, worker])
    where = line_of_finding(finding_of("input-bound", "decode-bound"), trace)
    assert where is not None
    assert (where.process, where.function, where.line) == (1, "Data.read", 9)
    assert where.share.likely == 1.0
