"""What the loop does in the program's own code: blocked lines, host functions, general answers."""

from typing import Any

import pytest

from perfscope.analyzer.budget.loop.loop_samples import loop_samples, sampled_code
from perfscope.analyzer.budget.loop.loop_time import loop_times
from perfscope.analyzer.budget.loop.native_shares import kind_of_library
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop
from tests.analyzer.pipelines import counters

STEPS = 60
MAIN = "main (./train.py:20)"
MODEL = f"{MAIN};_call_impl (torch/nn/modules/module.py:1)"
POLL = f"{MAIN};wait_for_actor (./train.py:9)"
WRITE = f"{MAIN};log (./train.py:7)"
POST = f"{MAIN};post (./train.py:5);recv (socket.py:700)"
ADD = f"{MAIN};add (./train.py:11)"
INSERT = f"{MAIN};report (./train.py:13)"
ASK = f"{MAIN};step (./simulator.py:8);recv (multiprocessing/connection.py:250)"
LOAD = f"{MAIN};load_batch (./train.py:5)"
STEP = f"{MAIN};Environment.step (./simulator.py:3)"
CONVERT = f"{MAIN};convert (./train.py:30)"
FORMAT = (
    f"{MAIN};report (./train.py:40);__repr__ (torch/_tensor.py:570);_str (torch/_tensor_str.py:7)"
)
TWO_THREADS = {"version": "2.13.0", "intra_op_threads": 2, "inter_op_threads": 1, "cuda": False}
ONE_THREAD = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": False}
PYTHON, TORCH, JSON = "libpython3.11.so.1.0", "libtorch_cpu.so", "_json.cpython-311.so"


def loop_of(
    stack: str,
    state: str,
    *,
    ms: int = 12,
    library: str = PYTHON,
    faults_per_s: float = 100.0,
    delay_ms: float = 0.0,
    manifest: dict[str, Any] | None = None,
) -> Trace:
    """Return steps of 6 ms of torch's calls, after `ms` milliseconds in `stack` and `state`."""
    loop = Loop()
    rows: dict[str, list[dict[str, Any]]] = {"outside_stacks": [], "thread_states": []}
    rows["native_samples"] = []
    for _ in range(STEPS):
        begin = loop.at
        loop.idle(ms).work()
        for at in range(begin, loop.at, MS):
            outside = at < begin + ms * MS
            row = {"process": 0, "tid": 100, "ts": at + MS // 2}
            shown = stack if outside else MODEL
            now = state if outside else "running"
            rows["outside_stacks"].append({**row, "weight_ns": MS, "stack": shown})
            rows["thread_states"].append({**row, "state": now})
            if now == "running":
                name = library if outside else TORCH
                rows["native_samples"].append({**row, "weight_ns": MS, "library": name})
    per_s = {(0, -1, "minor_faults"): faults_per_s, (0, 100, "run_delay_ns"): delay_ms * 1e6}
    return loop.trace(manifest=manifest, counters=counters(loop.at, per_s), **rows)


def found_in(diagnosis: Diagnosis, id: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.id == id)


def line_of(finding: Finding) -> tuple[str, int] | None:
    return None if finding.where is None else (finding.where.file, finding.where.line)


@pytest.mark.parametrize(
    ("stack", "state", "id", "line"),
    [
        (POLL, "sleep", "sleep-in-loop", ("train.py", 9)),
        (WRITE, "pipe", "blocking-call", ("train.py", 7)),
        (POST, "network", "blocking-call", ("train.py", 5)),
        (ADD, "lock", "blocking-call", ("train.py", 11)),
        (INSERT, "library-sleep", "blocking-call", ("train.py", 13)),
        (ASK, "pipe", "blocking-call", ("simulator.py", 8)),
        (STEP, "running", "host-code", ("simulator.py", 3)),
        (CONVERT, "running", "host-code", ("train.py", 30)),
        (FORMAT, "running", "host-code", ("train.py", 40)),
    ],
)
def test_the_line_that_takes_most_of_the_loop_is_the_verdict(
    stack: str, state: str, id: str, line: tuple[str, int]
) -> None:
    diagnosis = diagnose_trace(loop_of(stack, state, manifest={"torch": ONE_THREAD}))
    finding = found_in(diagnosis, id)
    assert (diagnosis.verdict.id, diagnosis.verdict.kind) == (id, "finding")
    # Some of the time may be in operators that the line calls.
    assert 0.45 <= finding.share <= 12 / 18 + 0.01
    assert line_of(finding) == line
    assert diagnosis.verdict.where == finding.where
    assert "input-bound" not in {finding.id for finding in diagnosis.findings}


def test_short_system_calls_are_a_blocking_call() -> None:
    in_kernel = {"library": "[kernel]", "manifest": {"torch": ONE_THREAD}}
    diagnosis = diagnose_trace(loop_of(WRITE, "running", **in_kernel))
    finding = found_in(diagnosis, "blocking-call")
    assert diagnosis.verdict.id == "blocking-call"
    assert finding.share == pytest.approx(12 / 18, abs=0.01)
    assert line_of(finding) == ("train.py", 7)
    assert "host-code" not in {finding.id for finding in diagnosis.findings}


@pytest.mark.parametrize(
    ("state", "other"),
    [("running", {"faults_per_s": 300_000.0}), ("running", {"delay_ms": 900.0}), ("gil", {})],
)
def test_page_faults_and_waits_for_a_core_or_the_gil_are_not_system_calls(
    state: str, other: dict[str, float]
) -> None:
    """They take 0.6 s of the 0.67 s per second in which the thread runs no code of the program."""
    in_kernel = {"library": "[kernel]", "manifest": {"torch": ONE_THREAD}}
    diagnosis = diagnose_trace(loop_of(CONVERT, state, **other, **in_kernel))
    assert "blocking-call" not in {finding.id for finding in diagnosis.findings}


def test_of_two_lines_the_one_that_waits_is_blocked_and_the_other_is_code() -> None:
    """Stacks and states are sampled at different instants, each less than once per step."""
    loop = Loop()
    rows: dict[str, list[dict[str, Any]]] = {"outside_stacks": [], "thread_states": []}
    rows["native_samples"] = []
    for _ in range(STEPS):
        loop.idle(30).idle(24).work()
    for table, every_ms in (("outside_stacks", 47), ("thread_states", 43), ("native_samples", 41)):
        for at in range(MS // 2, loop.at, every_ms * MS):
            place_ms = at % (60 * MS) / MS
            waits, runs = place_ms < 30, 30 <= place_ms < 54
            row = {"process": 0, "tid": 100, "ts": at}
            if table == "outside_stacks":
                stack = POST if waits else CONVERT if runs else MODEL
                rows[table].append({**row, "weight_ns": MS, "stack": stack})
            elif table == "thread_states":
                rows[table].append({**row, "state": "network" if waits else "running"})
            elif not waits:
                library = PYTHON if runs else TORCH
                rows[table].append({**row, "weight_ns": every_ms * MS, "library": library})
    diagnosis = diagnose_trace(loop.trace(manifest={"torch": ONE_THREAD}, **rows))
    assert line_of(found_in(diagnosis, "blocking-call")) == ("train.py", 5)
    assert line_of(found_in(diagnosis, "host-code")) == ("train.py", 30)


def test_code_that_loads_data_is_input_and_not_host_code() -> None:
    diagnosis = diagnose_trace(loop_of(LOAD, "network"))
    assert (diagnosis.verdict.id, diagnosis.verdict.cause) == ("input-bound", "unknown-loader")
    assert not {"host-code", "blocking-call"} & {finding.id for finding in diagnosis.findings}


def test_waiting_for_a_queue_of_batches_is_input() -> None:
    """A thread of the program fills the queue: no name says that it loads data."""
    queue = f"{MAIN};get (queue.py:171);wait (threading.py:320)"
    diagnosis = diagnose_trace(loop_of(queue, "lock"))
    assert (diagnosis.verdict.id, diagnosis.verdict.cause) == ("input-bound", "unknown-loader")
    assert "blocking-call" in diagnosis.clear


@pytest.mark.parametrize(("state", "found"), [("poll", False), ("other", False), ("pipe", True)])
def test_with_an_accelerator_a_wait_may_be_for_the_device(state: str, *, found: bool) -> None:
    torch = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    diagnosis = diagnose_trace(loop_of(WRITE, state, manifest={"torch": torch}))
    assert ("blocking-call" in {finding.id for finding in diagnosis.findings}) == found


def test_a_lock_at_the_end_of_an_operator_is_not_a_blocking_call() -> None:
    """With several threads, the end of an operator is a lock, too."""
    diagnosis = diagnose_trace(loop_of(CONVERT, "lock", manifest={"torch": TWO_THREADS}))
    assert "blocking-call" not in {finding.id for finding in diagnosis.findings}


@pytest.mark.parametrize(
    ("frame", "is_timed"),
    [("backward (torch/_tensor.py:630)", True), ("__repr__ (torch/_tensor.py:570)", False)],
)
def test_of_the_methods_of_a_tensor_only_backward_is_timed(frame: str, *, is_timed: bool) -> None:
    assert sampled_code(f"{WRITE};{frame}").has_torch_call == is_timed


def test_workers_are_not_loops() -> None:
    worker = {**build.MAIN, "process": 1, "pid": 101, "ns_pid": 101, "role": "loader-worker"}
    loop, stacks = Loop(), []
    for _ in range(STEPS):
        loop.next(2).work()
    for at in range(0, loop.at, MS):
        stacks.append({"process": 1, "tid": 101, "ts": at, "weight_ns": MS, "stack": CONVERT})
    trace = loop.trace(processes=[build.MAIN, worker], stacks=stacks)
    assert 1 not in trace.fact(loop_times)


def test_short_waits_are_not_a_blocking_call() -> None:
    diagnosis = diagnose_trace(loop_of(WRITE, "pipe", ms=0))
    assert "blocking-call" in diagnosis.clear


@pytest.mark.parametrize(("library", "advised"), [(PYTHON, True), (JSON, False)])
def test_vectorizing_is_advised_where_the_interpreter_runs(library: str, *, advised: bool) -> None:
    finding = found_in(diagnose_trace(loop_of(CONVERT, "running", library=library)), "host-code")
    assert ("vectorize-host-code" in {action.id for action in finding.actions}) == advised


def test_code_of_torch_below_a_line_is_not_host_code() -> None:
    diagnosis = diagnose_trace(loop_of(CONVERT, "running", library=TORCH))
    assert "host-code" not in {finding.id for finding in diagnosis.findings}


def test_the_loop_divides_into_calls_of_torch_and_the_rest() -> None:
    time = loop_of(WRITE, "pipe").fact(loop_times)[0]
    assert time.outside == pytest.approx(12 / 18, abs=0.02)
    assert time.blocked == pytest.approx(12 / 18, abs=0.02)
    assert time.running_outside == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("libpython3.11.so.1.0", "interpreter"),
        ("python3.12", "interpreter"),
        ("libtorch_cpu.so", "torch"),
        ("libgomp.so.1", "torch"),
        ("libc.so.6", "system"),
        ("[kernel]", "system"),
        ("_imaging.cpython-311-x86_64-linux-gnu.so", "others"),
        ("[anonymous]", "others"),
    ],
)
def test_a_library_belongs_to_the_interpreter_torch_the_system_or_others(
    name: str, kind: str
) -> None:
    assert kind_of_library(name) == kind


def test_a_server_with_a_thread_per_request_has_no_loop() -> None:
    """Its main thread warms the model up, then waits for connections, which costs nothing."""
    waiting = loop_of(POST, "network", manifest={"torch": ONE_THREAD})
    assert list(loop_samples(waiting)) == [0]
    ranges = waiting.table("ranges")
    assert ranges is not None
    calls = [
        {**row, "category": "forward", "value": 0, "tid": 100 if number < 10 else number}
        for number, row in enumerate(ranges[ranges["category"] == "forward"].to_dict("records"))
    ]
    tables = {name: waiting.table(name) for name in ("outside_stacks", "counters", "processes")}
    rows = {name: found.to_dict("records") for name, found in tables.items() if found is not None}
    assert loop_samples(build.trace(ranges=calls, **rows)) == {}
