"""The finding `hang`, on built traces: which thread holds up a job that makes no progress."""

from typing import Any

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.host import hang
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.hangs.hung_job import still_job, waits_for_unrecorded_ranks
from perfscope.analyzer.run.phases.phase_intervals import IDLE, NO_PROGRESS, phase_spans
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from tests.build import MAIN, table, trace

S = 1_000_000_000
END = 12 * S
MINUTE = 60 * S
STEP = "<module> (./train.py:20)"
FETCH = (
    "_bootstrap (multiprocessing/process.py:314);run (multiprocessing/process.py:108);"
    "_worker_loop (torch/utils/data/_utils/worker.py:374);"
)
WORKER_READS = f"{STEP};{FETCH}fetch (torch/utils/data/_utils/fetch.py:54);Data.get (./data.py:8)"
WORKER_WAITS = f"{STEP};{FETCH}get (multiprocessing/queues.py:113)"
FOR_BATCH = (
    f"{STEP};__next__ (torch/utils/data/dataloader.py:733);get (multiprocessing/queues.py:1)"
)
FOR_QUEUE = f"{STEP};get (queue.py:171);wait (threading.py:320)"
FOR_RANKS = (
    f"{STEP};backward (torch/_tensor.py:1);_engine_run_backward (torch/autograd/graph.py:979)"
)
IN_BARRIER = "<module> (./train.py:30);barrier (torch/distributed/distributed_c10d.py:1)"
LIMITED = {"limit_ns": 5 * S, "runs": 3}
Row = dict[str, Any]


def worker(process: int, parent: int = 0) -> Row:
    """Return the row of a loader worker."""
    return process_row(process, parent=parent, role="loader-worker")


def process_row(process: int, *, parent: int = -1, role: str = "main", rank: int = 0) -> Row:
    """Return the row of a process."""
    pid = 100 + process
    return {
        **MAIN,
        "process": process,
        "pid": pid,
        "ns_pid": pid,
        "parent": parent,
        "role": role,
        "rank": rank,
    }


def wait(process: int, kind: str, stack: str | None, **fields: Any) -> Row:
    """Return what a thread waits for, by default the main thread."""
    row = {"process": process, "tid": 100 + process, "kind": kind, "stack": stack, "period": 0}
    return {**row, "limit_ns": -1, "runs": 0, "cpu_ns": 0, "peer_pid": -1, **fields}


def quiet(*rows: Row, processes: list[Row] | None = None, **manifest: Any) -> Trace:
    """Return the trace of a job that did not move from second 2 to 12, with these waits."""
    codes = sorted({row["process"] for row in rows})
    counters = [
        {"process": code, "tid": -1, "ts": at * S, "name": "cpu_ns", "value": 1e9}
        for code in codes
        for at in range(13)
    ]
    waits = [
        {**row, "ts": at * S, "runs": row["runs"] * at // 12} for row in rows for at in (3, 12)
    ]
    return trace(
        processes=processes or [MAIN], waits=waits, counters=counters, manifest=manifest or None
    )


def found_in(recorded: Trace) -> Finding:
    """Return the finding of a trace that has one."""
    found = hang.detect(recorded, LIMITS)
    assert found is not None
    return found


def place(finding: Finding) -> str:
    """Return the line that a finding names."""
    assert finding.where is not None
    return f"{finding.where.file}:{finding.where.line}"


def test_the_worker_that_reads_a_file_is_named() -> None:
    recorded = quiet(
        wait(0, "pipe", FOR_BATCH, **LIMITED),
        wait(1, "file", WORKER_READS, call="openat", target="/mnt/x.bin"),
        wait(2, "pipe", WORKER_WAITS, **LIMITED),
        processes=[MAIN, worker(1), worker(2)],
    )
    found = found_in(recorded)
    assert place(found) == "data.py:8"
    assert found.processes == [1, 0]
    assert found.lost_s == 12.0
    assert "/mnt/x.bin" in found.explanation
    assert found.scope == "run"
    answer = diagnose_trace(recorded)
    assert answer.verdict.id == "hang"
    assert answer.verdict.kind == "finding"
    assert [other.id for other in answer.findings] == ["hang"]
    assert {phase.phase for phase in answer.run_budget} == {NO_PROGRESS}


def test_a_batch_that_no_worker_makes_is_waited_for_at_the_loop() -> None:
    found = found_in(
        quiet(
            wait(0, "pipe", FOR_BATCH, **LIMITED),
            wait(1, "pipe", WORKER_WAITS, **LIMITED),
            processes=[MAIN, worker(1)],
        )
    )
    assert place(found) == "train.py:20"


def test_a_lock_held_at_the_fork_is_named_in_the_worker() -> None:
    rows = [wait(code, "lock", WORKER_READS, target="0x7f") for code in (1, 2)]
    found = found_in(
        quiet(wait(0, "pipe", FOR_BATCH, **LIMITED), *rows, processes=[MAIN, worker(1), worker(2)])
    )
    assert place(found) == "data.py:8"
    assert [action.id for action in found.actions] == ["create-locks-in-workers"]


def test_a_queue_that_nobody_fills_is_named_where_it_is_read() -> None:
    found = found_in(quiet(wait(0, "lock", FOR_QUEUE)))
    assert place(found) == "train.py:20"
    assert [action.id for action in found.actions] == ["pass-on-exceptions-of-producers"]


def test_the_thread_that_holds_the_lock_is_named() -> None:
    holder = wait(0, "network", "save (./log.py:7)", tid=9, thread="saver", target="127.0.0.1:80")
    found = found_in(quiet(wait(0, "lock", STEP, target="0x1"), holder))
    assert place(found) == "log.py:7"
    assert "saver" in found.headline


def test_two_threads_with_each_others_lock() -> None:
    other = wait(0, "lock", "save (./log.py:7)", tid=9, target="0x2")
    found = found_in(quiet(wait(0, "lock", STEP, target="0x1"), other))
    assert place(found) == "log.py:7"


def test_a_thread_at_the_same_lock_does_not_hold_it() -> None:
    other = wait(0, "lock", "save (./log.py:7)", tid=9, target="0x1")
    found = found_in(quiet(wait(0, "lock", STEP, target="0x1"), other))
    assert place(found) == "train.py:20"


def test_the_rank_that_is_elsewhere_is_named() -> None:
    loop = wait(1, "sleep", "<module> (./train.py:9);evaluate (./train.py:6)", limit_ns=S, runs=10)
    ranks = [process_row(0), process_row(1, rank=1)]
    recorded = quiet(wait(0, "lock", FOR_RANKS), loop, processes=ranks, world_size=2)
    found = found_in(recorded)
    assert place(found) == "train.py:6"
    assert "rank 1" in found.headline
    assert [action.id for action in found.actions] == ["run-the-same-collectives"]


def test_a_rank_whose_worker_hangs_is_followed_to_the_worker() -> None:
    ranks = [process_row(0), process_row(1, rank=1), worker(2, parent=1)]
    found = found_in(
        quiet(
            wait(0, "lock", FOR_RANKS),
            wait(1, "pipe", FOR_BATCH, **LIMITED),
            wait(2, "file", WORKER_READS),
            processes=ranks,
        )
    )
    assert place(found) == "data.py:8"


def test_ranks_in_different_collectives() -> None:
    ranks = [process_row(code, rank=code) for code in range(3)]
    rows = [wait(0, "lock", FOR_RANKS), wait(1, "lock", FOR_RANKS), wait(2, "lock", IN_BARRIER)]
    assert place(found_in(quiet(*rows, processes=ranks))) == "train.py:30"


def test_a_rank_that_receives_from_one_in_a_barrier_is_named() -> None:
    receives = "<module> (./train.py:40);recv (torch/distributed/distributed_c10d.py:1)"
    for order in ((0, 1), (1, 0)):
        ranks = [process_row(code, rank=code) for code in range(2)]
        rows = [wait(order[0], "lock", receives), wait(order[1], "lock", IN_BARRIER)]
        assert place(found_in(quiet(*rows, processes=ranks))) == "train.py:40"


def test_ranks_that_were_not_recorded_may_compute() -> None:
    rows = [wait(code, "lock", FOR_RANKS) for code in range(2)]
    ranks = [process_row(code, rank=code) for code in range(2)]
    assert still_job(quiet(*rows, processes=ranks, world_size=4)) is None
    assert still_job(quiet(wait(0, "lock", IN_BARRIER))) is None
    assert waits_for_unrecorded_ranks(quiet(wait(0, "lock", FOR_RANKS), world_size=4))
    assert not waits_for_unrecorded_ranks(quiet(wait(0, "lock", FOR_RANKS)))
    assert not waits_for_unrecorded_ranks(quiet(wait(0, "lock", FOR_QUEUE), world_size=4))


def test_a_peer_process_that_sleeps_for_days() -> None:
    child = process_row(1, parent=0, role="other")
    stack = "_bootstrap (multiprocessing/process.py:1);simulate (./env.py:5)"
    found = found_in(
        quiet(
            wait(0, "network", f"{STEP};recv (multiprocessing/connection.py:1)", peer_pid=101),
            wait(1, "sleep", stack, limit_ns=90_000 * S),
            processes=[MAIN, child],
        )
    )
    assert place(found) == "env.py:5"


def test_a_program_that_looks_like_a_launcher_is_the_main_process() -> None:
    parent = process_row(0, role="launcher", rank=-1)
    child = process_row(1, parent=0)
    stack = "_bootstrap (multiprocessing/process.py:1);simulate (./env.py:5)"
    recorded = quiet(
        wait(0, "pipe", f"{STEP};recv (multiprocessing/connection.py:1)", peer_pid=101),
        wait(1, "lock", stack),
        processes=[parent, child],
    )
    found = found_in(recorded)
    assert place(found) == "env.py:5"
    assert found.processes == [1, 0]


def test_a_child_without_python_is_named_with_the_waiting_line() -> None:
    child = process_row(1, parent=0, role="other")
    found = found_in(
        quiet(
            wait(0, "child", f"{STEP};wait (subprocess.py:1)", peer_pid=101, peer="cat"),
            wait(1, "file", None, call="openat", target="/mnt/x", thread="cat"),
            processes=[MAIN, child],
        )
    )
    assert place(found) == "train.py:20"
    assert "cat" in found.headline


def test_a_command_that_a_worker_runs_is_named_with_the_line_of_the_worker() -> None:
    command = process_row(2, parent=1, role="other")
    runs_command = f"{WORKER_READS};run (subprocess.py:1);wait (subprocess.py:2)"
    found = found_in(
        quiet(
            wait(0, "pipe", FOR_BATCH, **LIMITED),
            wait(1, "child", runs_command, peer_pid=102, peer="cat"),
            wait(2, "file", None, call="openat", target="/mnt/x", thread="cat"),
            processes=[MAIN, worker(1), command],
        )
    )
    assert place(found) == "data.py:8"
    assert found.where is not None and found.where.process == 1


def test_waits_that_will_end_are_not_a_hang() -> None:
    producer = wait(0, "sleep", "produce (./data.py:4)", tid=9, limit_ns=20 * S)
    for rows in (
        [wait(0, "sleep", STEP, limit_ns=20 * S)],
        [wait(0, "sleep", STEP, limit_ns=S, runs=10)],
        [wait(0, "lock", FOR_QUEUE), producer],
        [wait(0, "network", STEP, target="10.0.0.7:443")],
        [wait(0, "lock", "run (vllm/v1/engine/core.py:1);get (queue.py:1)")],
        [wait(0, "network", STEP, target="127.0.0.1:80", limit_ns=9 * S)],
        [wait(0, "network", STEP, target="127.0.0.1:80", runs=10)],
        [wait(0, "lock", FOR_QUEUE), wait(0, "network", None, tid=9, thread="tokio", runs=9)],
    ):
        assert still_job(quiet(*rows)) is None


def test_a_worker_that_sleeps_in_a_loop_may_make_its_batch_slowly() -> None:
    sleeps = wait(1, "sleep", WORKER_READS, limit_ns=S // 5, runs=50)
    waits = wait(0, "pipe", FOR_BATCH, **LIMITED)
    assert still_job(quiet(waits, sleeps, processes=[MAIN, worker(1)])) is None
    other_rank = wait(2, "lock", FOR_RANKS)
    processes = [MAIN, worker(1), process_row(2, rank=1)]
    assert still_job(quiet(waits, sleeps, other_rank, processes=processes)) is None


def test_a_thread_that_sleeps_in_a_loop_may_fill_the_queue() -> None:
    producer = wait(0, "sleep", "produce (./data.py:4)", tid=9, limit_ns=S, runs=10)
    assert still_job(quiet(wait(0, "lock", FOR_QUEUE), producer)) is None


def test_a_server_without_requests_is_idle() -> None:
    accepting = wait(0, "requests", "serve (./app.py:3)", tid=9)
    for rows in (
        [wait(0, "requests", "<module> (./app.py:9);accept (socket.py:1)")],
        [wait(0, "poll", "<module> (./app.py:9);run_forever (asyncio/base_events.py:1)")],
        [wait(0, "lock", "<module> (./app.py:9);wait (threading.py:1)"), accepting],
        [wait(0, "input", "<module> (./app.py:9)")],
        [wait(0, "lock", "loop (./app.py:9);get (queue.py:1);wait (threading.py:1)"), accepting],
    ):
        recorded = quiet(*rows)
        still = still_job(recorded)
        assert still is not None
        assert still.hang is None
        assert hang.detect(recorded, LIMITS) is None
        assert phase_spans(recorded, 0).duration_ns(IDLE) == END


def test_a_server_whose_children_wait_for_requests_is_idle() -> None:
    child = wait(1, "requests", "<module> (/usr/bin/gunicorn:8);accept (socket.py:1)")
    recorded = quiet(
        wait(0, "pipe", "<module> (/usr/bin/gunicorn:8);run (gunicorn/arbiter.py:1)", **LIMITED),
        child,
        processes=[MAIN, process_row(1, parent=0, role="other")],
    )
    still = still_job(recorded)
    assert still is not None
    assert still.hang is None


def test_a_job_that_moves_at_the_end_does_not_hang() -> None:
    recorded = quiet(wait(0, "lock", FOR_QUEUE))
    waits = recorded.table("waits")
    assert waits is not None
    later = [{"process": 0, "tid": -1, "ts": 30 * S, "name": "cpu_ns", "value": 2e9}]
    moved = trace(waits=waits.astype(object).to_dict("records"), counters=later)
    assert still_job(moved) is None


def test_a_changed_line_is_progress() -> None:
    rows = [{**wait(0, "lock", f"run (./train.py:{line})"), "ts": line * S} for line in (3, 12)]
    counters = [{"process": 0, "tid": -1, "ts": at * S, "name": "cpu_ns"} for at in (0, 12)]
    assert still_job(trace(waits=rows, counters=counters)) is None


def record(rank: int, sequence: int, state: str = "started", **fields: Any) -> Row:
    """Return a collective that PyTorch's Flight Recorder has written down."""
    row = {"process": 0, "ts": 3 * S, "rank": rank, "group": "default_pg", "sequence": sequence}
    return {**row, "operation": "all_reduce", "state": state, "place": None, **fields}


def with_records(recorded: Trace, *rows: Row) -> Trace:
    """Return a trace with records of the Flight Recorder."""
    frames = {name: recorded.table(name) for name in ("processes", "waits", "counters")}
    absent = {name: "" for name in TABLES if name not in frames}
    frames["flight_records"] = table("flight_records", list(rows))
    absent.pop("flight_records")
    return Trace(frames, absent, recorded.manifests, kind=recorded.kind, span_ns=recorded.span_ns)


def test_one_rank_of_several_hangs_where_pytorch_itself_gave_up() -> None:
    alone = quiet(wait(0, "lock", FOR_RANKS), world_size=4)
    assert still_job(alone) is None
    finding = found_in(
        with_records(alone, record(0, 42), record(1, 42), record(2, 41, "completed"))
    )
    assert place(finding) == "train.py:20"
    assert "all_reduce 42" in finding.explanation and "rank 2" in finding.explanation
    computes = with_records(alone, record(0, 42, "completed"), record(2, 41, "completed"))
    assert still_job(computes) is None


def test_the_rank_that_has_not_begun_the_collective_is_named() -> None:
    ranks = [process_row(code, rank=code) for code in range(3)]
    barriers = [wait(code, "lock", IN_BARRIER) for code in range(2)]
    rows = [*barriers, wait(2, "lock", FOR_RANKS)]
    recorded = quiet(*rows, processes=ranks, world_size=3)
    assert place(found_in(recorded)) == "train.py:20"
    records = [record(0, 41, "completed"), record(1, 42), record(2, 42)]
    finding = found_in(with_records(recorded, *records))
    assert place(finding) == "train.py:30" and finding.processes[0] == 0
