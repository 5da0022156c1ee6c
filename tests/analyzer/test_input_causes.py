"""Causes of input-bound that are seen in the code of fetches, or in single fetches."""

from collections.abc import Sequence
from typing import Any

import pytest

from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop
from tests.analyzer.pipelines import fetch_stack, pipeline, worker_process

GETITEM = "Rows.__getitem__ (./data.py:31)"
COLLATE = "default_collate (torch/utils/data/_utils/collate.py:398)"
DECODER = "Photos.__getitem__ (./data.py:9);load (PIL/ImageFile.py:300)"
GLOB = "Pairs.__getitem__ (./data.py:30);glob (pathlib.py:1040);filter (fnmatch.py:60)"
LOCK = "Archive.__getitem__ (./data.py:27);__enter__ (multiprocessing/synchronize.py:95)"
HEAVY = {"wall": 120.0, "cpu": 80.0, "delay": 40.0, "samples": 64}
"""A batch of 64 samples that need 1.25 ms of CPU time each."""
LIGHT = {"wall": 40.0, "cpu": 38.0, "samples": 256}
"""A batch of 256 samples that need 0.15 ms of CPU time each."""
KEPT_TABLES = ("processes", "loader", "ranges", "fetches")
TORCH = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": False}
Fetch = tuple[int, float]
"""The worker of a fetch, and its duration in ms."""


def found(trace: Trace) -> Finding:
    finding = input_bound.detect(trace, LIMITS)
    assert finding is not None
    return finding


def actions(finding: Finding) -> list[str]:
    return [action.id for action in finding.actions]


def place(finding: Finding) -> str | None:
    where = finding.where
    return None if where is None else f"{where.file}:{where.line}"


def delivered(
    fetches: Sequence[Fetch],
    *,
    workers: int,
    work_ms: float = 6.0,
    stacks: dict[int, str] | None = None,
    persistent: int = 0,
    per_pass: int = 0,
    pass_processes: bool = False,
    version: str = "2.13.0",
    start_ms: float = 0.0,
    start_stack: str = ";init (./data.py:12)",
) -> Trace:
    """Return the trace of a loop that takes its batches in this order.

    Each worker fetches one batch after the other, at most two ahead. `stacks`: the frames of a
    worker below torch's fetcher, sampled every 4 ms; -1 for fetches of more than 100 ms.
    `per_pass`: batches after which a new iterator is made, and with `pass_processes` new workers,
    which are in `start_stack` below torch's worker loop for `start_ms`.
    """
    loop = Loop()
    free = dict.fromkeys(range(workers), 0)
    rows: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    processes: dict[int, int] = {}
    taken: list[int] = []
    for number, (worker, ms) in enumerate(fetches):
        turn, in_pass = divmod(number, per_pass) if per_pass else (0, number)
        if per_pass and in_pass == 0:
            loop.start(1, iterator=turn, workers=workers)
            free = dict.fromkeys(range(workers), loop.at + round(start_ms * MS))
            taken = []
            for at in range(loop.at, loop.at + round(start_ms * MS), 4 * MS):
                common = {"process": 10 + 100 * turn, "tid": 200 + 100 * turn}
                stack = f"_worker_loop (torch/utils/data/_utils/worker.py:290){start_stack}"
                samples.append({**common, "ts": at, "weight_ns": 4 * MS, "stack": stack})
        process = 10 + worker + (100 * turn if pass_processes else 0)
        processes[process] = worker
        ahead = taken[-2 * workers] if len(taken) >= 2 * workers else 0
        begin = max(free[worker], ahead)
        free[worker] = begin + round(ms * MS)
        common = {"process": process, "tid": process + 190}
        row = {"ts": begin, "dur": free[worker] - begin, "worker": worker, "cpu_ns": 0}
        rows.append({**common, **row, "dataset_ns": row["dur"], "collate_ns": 0, "samples": 16})
        kind = -1 if ms > 100 and -1 in (stacks or {}) else worker
        for at in range(begin, free[worker], 4 * MS):
            stack = fetch_stack((stacks or {}).get(kind, "Data.__getitem__ (./data.py:5)"))
            samples.append({**common, "ts": at, "weight_ns": 4 * MS, "stack": stack})
        wait = max(free[worker] - loop.at, 0) / MS
        extra = {"iterator": turn, "persistent": persistent}
        loop.next(wait + 0.1, workers=workers, queue_depth=0, **extra)
        taken.append(loop.at)
        loop.forward(work_ms / 2).backward(work_ms / 2).optimizer(0.5)
    children = [
        {**worker_process(worker), "process": process, "pid": process + 190}
        for process, worker in processes.items()
    ]
    torch = {**TORCH, "version": version}
    tables = {"fetches": rows, "stacks": samples, "processes": [build.MAIN, *children]}
    return loop.trace(manifest={"torch": torch}, **tables)


def round_robin(workers: int, count: int, ms: dict[int, float]) -> list[Fetch]:
    """Return fetches of workers in turn, each with its own duration."""
    return [(number % workers, ms[number % workers]) for number in range(count)]


def test_rows_in_memory_are_fetched_as_whole_batches() -> None:
    finding = found(pipeline(wait=20, fetch=LIGHT, cores=3.9, busy=0.99, stack=GETITEM))
    assert finding.cause == "per-sample-overhead"
    assert actions(finding) == ["index-whole-batches", "define-getitems"]
    assert place(finding) == "data.py:31"
    assert finding.speedup is not None
    assert (finding.speedup.likely, finding.speedup.low) == (None, None)
    tiny = {**LIGHT, "samples": 2000}
    finding = found(pipeline(wait=20, fetch=tiny, cores=3.9, busy=0.99, stack=GETITEM))
    expected = ["index-whole-batches", "define-getitems", "fetch-batches-in-the-loop"]
    assert actions(finding) == expected


def test_rows_that_an_iterable_dataset_yields_become_batches() -> None:
    stack = "Rows.__iter__ (./data.py:31)"
    finding = found(pipeline(wait=20, fetch=LIGHT, cores=3.9, busy=0.99, stack=stack))
    assert finding.cause == "per-sample-overhead"
    assert actions(finding) == ["yield-whole-batches"]


def test_work_in_functions_of_a_longer_sample_is_not_overhead() -> None:
    stack = f"{GETITEM};Rows.tokenize (./data.py:40)"
    for samples, cause in ((256, "per-sample-overhead"), (100, "cpu-bound-fetch")):
        fetch = {**LIGHT, "samples": samples}
        finding = found(pipeline(wait=20, fetch=fetch, cores=3.9, busy=0.99, stack=stack))
        assert (finding.cause, place(finding)) == (cause, "data.py:40")


def test_rows_in_memory_without_workers_are_fetched_as_whole_batches() -> None:
    finding = found(
        pipeline(wait=30, workers=0, fetch={**LIGHT, "wall": 30, "cpu": 29}, stack=GETITEM)
    )
    assert finding.cause == "per-sample-overhead"
    assert actions(finding) == ["index-whole-batches", "define-getitems"]


def test_lines_of_computing_workers_are_those_sampled_from_outside() -> None:
    """The probe sees the line that releases the GIL, py-spy the loop that holds it."""
    loop = GETITEM.replace("31", "11")
    for wall, seen in ((40, "data.py:11"), (400, "data.py:31")):
        trace = pipeline(
            wait=20, fetch={**LIGHT, "wall": wall}, cores=3.9, busy=0.99, stack=GETITEM
        )
        names = (*KEPT_TABLES, "stacks", "counters")
        tables = {name: trace.table(name) for name in names}
        rows = {
            name: frame.to_dict("records") for name, frame in tables.items() if frame is not None
        }
        outside = [
            {**row, "stack": fetch_stack(loop)} for row in rows["stacks"] if row["process"] == 10
        ]
        assert place(found(build.trace(**rows, outside_stacks=outside))) == seen


def test_collating_many_small_tensors_is_overhead_per_sample() -> None:
    fetch = {**LIGHT, "collate": 30}
    finding = found(pipeline(wait=20, fetch=fetch, cores=3.9, busy=0.99, stack=COLLATE))
    assert finding.cause == "per-sample-overhead"
    program = "collate_rows (./data.py:50)"
    finding = found(pipeline(wait=20, fetch=fetch, cores=3.9, busy=0.99, stack=program))
    assert (finding.cause, place(finding)) == ("collate-bound", "data.py:50")


@pytest.mark.parametrize(
    ("fetch", "stack"),
    [
        (HEAVY, GETITEM),
        (LIGHT, GLOB),
        (LIGHT, DECODER),
        (LIGHT, "Images.__getitem__ (./data.py:9);forward (torchvision/transforms/v2/x.py:3)"),
        (LIGHT, "Rows.__getitems__ (./data.py:31)"),
        ({**LIGHT, "cpu": 4}, GETITEM),
        ({**LIGHT, "samples": 2}, GETITEM),
    ],
)
def test_other_fetches_are_not_overhead_per_sample(fetch: dict[str, float], stack: str) -> None:
    trace = pipeline(wait=20, workers=4, fetch=fetch, cores=3.9, busy=0.99, stack=stack)
    assert found(trace).cause != "per-sample-overhead"


def test_decoding_is_reported_where_a_decoder_was_sampled() -> None:
    busy = {"wait": 20, "workers": 4, "fetch": HEAVY, "cores": 3.9, "busy": 0.99}
    seen = {
        "stack": found(pipeline(**busy, stack=DECODER)),
        "native code": found(pipeline(**busy, stack=GETITEM, library="libjpeg.so.62")),
    }
    assert {name: finding.cause for name, finding in seen.items()} == dict.fromkeys(
        seen, "decode-bound"
    )
    assert "decode-jpeg-at-reduced-size" in actions(seen["native code"])
    assert "decode-jpeg-at-reduced-size" not in actions(seen["stack"])
    without = found(pipeline(**busy, stack=GETITEM, library="libpython3.11.so.1.0"))
    assert (without.cause, place(without)) == ("cpu-bound-fetch", "data.py:31")
    assert actions(without) == ["prepare-samples-once"]


def test_a_loop_without_workers_saves_its_loading_and_what_that_evicts_from_caches() -> None:
    fetch = {"wall": 30, "cpu": 29, "samples": 16}
    finding = found(pipeline(wait=30, workers=0, fetch=fetch, cores=3.9, busy=0.99, stack=GETITEM))
    assert finding.cause == "cpu-bound-fetch"
    assert finding.speedup is not None and finding.speedup.likely is None
    # 40 ms per step, of which 10 ms are not loading; 15 % of them may be saved too.
    assert finding.speedup.high == pytest.approx(40 / 8.5, rel=0.01)


def test_searching_folders_advises_a_list_of_files() -> None:
    busy = {"wait": 20, "workers": 4, "fetch": HEAVY, "cores": 3.9, "busy": 0.99}
    finding = found(pipeline(**busy, stack=GLOB))
    assert finding.cause == "cpu-bound-fetch"
    assert actions(finding) == ["list-files-once"]
    assert place(finding) == "data.py:30"


def test_workers_that_wait_for_a_lock_they_share_do_not_become_more() -> None:
    finding = found(pipeline(wait=20, workers=4, fetch={"wall": 120, "cpu": 2}, stack=LOCK))
    assert (finding.cause, place(finding)) == ("shared-lock", "data.py:27")
    assert actions(finding) == ["load-without-shared-lock"]
    flock = {"stack": "Archive.__getitem__ (./data.py:27)", "states": "lock"}
    finding = found(pipeline(wait=20, workers=4, fetch={"wall": 120, "cpu": 2}, **flock))
    assert finding.cause == "shared-lock"
    pool = {"stack": f"{GETITEM};result (concurrent/futures/_base.py:445)", "states": "lock"}
    finding = found(pipeline(wait=20, workers=4, fetch={"wall": 120, "cpu": 2}, **pool))
    assert (finding.cause, place(finding)) == ("too-few-workers", "data.py:31")


def test_workers_without_a_shard_are_not_counted() -> None:
    fetches = [(0, 20.0)] * 60
    finding = found(delivered(fetches, workers=3))
    assert (finding.cause, place(finding)) == ("fewer-shards-than-workers", "data.py:5")
    assert actions(finding) == ["use-a-shard-per-worker"]
    assert finding.speedup is not None and finding.speedup.likely is not None
    # 20 ms per batch from one worker, 6.67 from three; the loop takes 6.6.
    assert finding.speedup.likely == pytest.approx(3.0, rel=0.1)
    assert found(delivered(round_robin(3, 60, {0: 60, 1: 60, 2: 60}), workers=3)).cause != (
        "fewer-shards-than-workers"
    )


def test_a_worker_that_is_always_slow_makes_the_others_wait() -> None:
    slow = "Sources.read (./data.py:32)"
    fetches = round_robin(3, 90, {0: 9, 1: 9, 2: 90})
    finding = found(delivered(fetches, workers=3, stacks={2: slow}))
    assert (finding.cause, place(finding)) == ("uneven-workers", "data.py:32")
    assert actions(finding) == [
        "divide-slow-data-among-workers",
        "take-batches-as-they-are-ready",
    ]
    # A round of three batches takes 90 ms; divided equally it takes 36, 12 ms per batch.
    assert finding.speedup is not None and finding.speedup.likely is not None
    assert finding.speedup.likely == pytest.approx(30 / 12, rel=0.1)
    old = found(delivered(fetches, workers=3, version="2.5.1"))
    assert actions(old) == ["divide-slow-data-among-workers"]


def test_equal_workers_are_not_uneven() -> None:
    finding = found(delivered(round_robin(3, 90, {0: 40, 1: 50, 2: 60}), workers=3))
    assert finding.cause == "too-few-workers"


def test_a_rare_slow_fetch_delays_the_batches_of_all_workers() -> None:
    fetches = [(number % 4, 800.0 if number % 50 == 30 else 11.0) for number in range(400)]
    slow = {-1: "Remote.__getitem__ (./data.py:24)", **dict.fromkeys(range(4), GETITEM)}
    finding = found(delivered(fetches, workers=4, stacks=slow))
    assert (finding.cause, place(finding)) == ("rare-slow-sample", "data.py:24")
    assert actions(finding) == ["take-batches-as-they-are-ready", "bound-the-slow-sample"]


def passes(first_ms: float) -> list[Fetch]:
    """Return the fetches of ten passes of 20 batches of two workers, the first of each slow."""
    return [(number % 2, first_ms if number % 20 < 2 else 4.0) for number in range(200)]


def test_new_workers_that_load_an_index_are_a_slow_start() -> None:
    index = {-1: "Indexed.__getitem__ (./data.py:30);loads (json/__init__.py:346)"}
    trace = delivered(passes(300), workers=2, stacks=index, per_pass=20, pass_processes=True)
    finding = found(trace)
    assert (finding.cause, place(finding)) == ("slow-worker-start", "data.py:30")
    assert actions(finding) == ["keep-started-workers", "load-before-workers-start"]


def test_new_workers_that_load_an_index_before_their_first_fetch_are_a_slow_start() -> None:
    rows = [(number % 2, 4.0) for number in range(200)]
    trace = delivered(rows, workers=2, per_pass=20, pass_processes=True, start_ms=200)
    finding = found(trace)
    assert (finding.cause, place(finding)) == ("slow-worker-start", "data.py:12")
    idle = delivered(
        rows, workers=2, per_pass=20, pass_processes=True, start_ms=200, start_stack=""
    )
    assert found(idle).cause == "worker-restart"


def test_workers_that_live_on_are_not_advised_to_persist() -> None:
    buffer = {-1: "Stream.__iter__ (./data.py:29);Stream.read (./data.py:24)"}
    trace = delivered(passes(300), workers=2, stacks=buffer, per_pass=20, persistent=1)
    finding = found(trace)
    assert (finding.cause, place(finding)) == ("slow-first-batch", "data.py:24")
    assert actions(finding) == ["divide-the-work-of-the-first-batch"]
    # New workers would fill the buffer again, too: the dataset iterates itself.
    trace = delivered(passes(300), workers=2, stacks=buffer, per_pass=20, pass_processes=True)
    assert found(trace).cause == "slow-first-batch"


@pytest.mark.parametrize(("every", "cause"), [(1, "sampler-bound"), (4, "in-process-loading")])
def test_a_sampler_that_takes_the_time_in_the_loader_is_the_cause(every: int, cause: str) -> None:
    trace = pipeline(wait=30, workers=0, fetch={"wall": 6, "cpu": 1}, stack=GETITEM)
    tables = {name: trace.table(name) for name in (*KEPT_TABLES, "outside_stacks")}
    rows = {name: frame.to_dict("records") for name, frame in tables.items() if frame is not None}
    sampler = (
        "main (./train.py:40);_next_index (torch/utils/data/dataloader.py:723);"
        "__iter__ (torch/utils/data/sampler.py:300);__iter__ (torch/utils/data/sampler.py:220)"
    )
    for row in rows["outside_stacks"][::every]:
        row["stack"] = sampler
    finding = found(build.trace(**rows))
    assert (finding.cause, place(finding)) == (cause, "train.py:40" if every == 1 else "data.py:31")
