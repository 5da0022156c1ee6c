"""A job on several hosts: findings about a machine are checked on each host, findings about ranks
on all hosts together.
"""

from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.check_findings import outcome
from perfscope.analyzer.communication import straggler
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Clear, Failed, Finding, NotChecked
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.ranks.rank_waiting import rank_waiting
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.verdict.per_host_findings import Outcome, host_views, together
from perfscope.traces.jobs.job import merge_parts
from perfscope.traces.jobs.recordings import JobParts, MemberTrace
from perfscope.traces.trace import Trace
from perfscope.ui.html.rank_rows import rank_rows
from perfscope.ui.phrases import describe_subject
from perfscope.ui.terminal.layout import TerminalLayout
from perfscope.ui.terminal.rank_bars import rank_bars
from tests import build
from tests.analyzer.loop import MS, Loop, trace_of_two_ranks
from tests.analyzer.pipelines import counters, host

STEPS = 60


def trace_of_rank(
    name: str, rank: int, busy_of_8: int, *, cores: float = 2.0, throttled: bool = False
) -> Trace:
    """Return the trace of one rank on the host `name`, in steps of 9 ms.

    In its backward pass, `busy_of_8` of eight samples are of a running thread; the others wait.
    """
    loop = Loop()
    for _ in range(STEPS):
        loop.next().backward(8)
    step = 9 * MS
    states = [
        {
            "process": 0,
            "tid": 100,
            "ts": step * number + MS * (1 + at) + MS // 2,
            "state": "running" if at < busy_of_8 else "lock",
        }
        for number in range(STEPS)
        for at in range(8)
    ]
    used = counters(loop.at, host(cores=1.0, busy=0.5))
    if throttled:
        used += counters(loop.at, {(0, -1, "throttled_ns"): 0.5e9, (0, -1, "nr_throttled"): 10.0})
    used += [{"process": -1, "tid": -1, "ts": 0, "name": "host_cpu_count", "value": 4.0}]
    main = build.MAIN | {"rank": rank, "host": name, "boot_id": name}
    ops = [
        {"process": 0, "tid": 100, "ts": 0, "dur": 9, "name": "aten::a"},
        {"process": 0, "tid": 100, "ts": 1, "dur": 2, "name": "aten::b", "parent": 0},
    ]
    facts: dict[str, Any] = {
        "host": name,
        "boot_id": name,
        "usable_cores": {"cores": cores, "affinity": 4},
        "depth": "kernels",
    }
    tables = {"processes": [main], "thread_states": states, "counters": used, "ops": ops}
    return loop.trace(manifest=facts, **tables)


def job(*parts: Trace) -> Trace:
    members = [
        MemberTrace(Path(str(number)), True, part, None, -1) for number, part in enumerate(parts)
    ]
    return merge_parts(JobParts(members), None)


def test_a_view_of_a_host_has_its_tables_and_its_manifest() -> None:
    whole = job(trace_of_rank("node-a", 0, 2), trace_of_rank("node-b", 1, 8, cores=1.0))
    counted = whole.table("counters")
    assert counted is not None and sorted(set(counted["process"])) == [-2, -1, 0, 1]
    first, second = whole.fact(host_views)
    assert (first.manifest.host, second.manifest.host) == ("node-a", "node-b")
    ops = second.table("ops")
    assert ops is not None and ops["parent"].tolist() == [-1, 0] and set(ops["process"]) == {1}
    loads = [view.fact(host_load) for view in (first, second)]
    assert [load.usable_cores for load in loads] == [2.0, 1.0]
    assert [load.tree_cores for load in loads] == pytest.approx([1.0, 1.0])
    assert [load.host_busy for load in loads] == pytest.approx([0.5, 0.5])
    assert host_views(trace_of_rank("node-a", 0, 2))[0].manifest.host == "node-a"
    waits = first.fact(time_budget)["peer-wait"]
    # The view of one host contains the waiting for ranks on other hosts.
    assert len(waits) and (waits > 0).all()


def test_ranks_wait_for_the_rank_that_waits_least() -> None:
    whole = job(trace_of_rank("node-a", 0, 2), trace_of_rank("node-b", 1, 8))
    waits = whole.fact(rank_waiting)
    assert waits["waiting_share"].tolist() == pytest.approx([6 / 8, 0.0])
    assert waits["peer_share"].tolist() == pytest.approx([6 / 8, 0.0])
    budget = whole.fact(time_budget)
    assert (budget[list(CATEGORY_IDS)].sum(axis=1) == budget["dur"]).all()
    assert budget.groupby("rank")["peer-wait"].sum().tolist() == pytest.approx(
        [0.75 * 9 * MS * (STEPS - 2), 0]
    )
    diagnosis = diagnose_trace(whole)
    assert diagnosis.verdict.id == "straggler"
    assert "rank 1 on node-b" in diagnosis.verdict.headline
    host_of = {process.process: process.host for process in diagnosis.processes}
    hosts = [host_of[budget.process] for budget in diagnosis.per_process]
    assert diagnosis.budget_rank == 1 and hosts == ["node-a", "node-b"]
    lines = [line.plain for line in rank_bars(diagnosis, TerminalLayout())]
    assert any("> rank 1 node-b" in line for line in lines)


def trace_of_sleeping_rank(name: str, rank: int) -> Trace:
    """Return the trace of a rank in steps of 9 ms that sleeps, mostly outside of torch's calls."""
    loop = Loop()
    for _ in range(STEPS):
        loop.next().idle(6).backward(2)
    loop.sampled("thread_states", 1, state="sleep")
    place = {"host": name, "boot_id": name}
    return loop.trace(manifest=place, processes=[build.MAIN | place | {"rank": rank}])


def test_a_rank_that_sleeps_without_waiting_for_its_peers_is_the_straggler() -> None:
    whole = job(trace_of_rank("node-a", 0, 2), trace_of_sleeping_rank("node-b", 1))
    found = outcome(straggler.RULE, whole, LIMITS)
    assert isinstance(found, Finding) and found.processes == [1]
    assert "rank 1 on node-b" in found.headline


def test_a_straggler_is_named_with_its_host() -> None:
    whole = job(
        trace_of_rank("node-a", 0, 2), trace_of_rank("node-b", 1, 8), trace_of_rank("node-c", 2, 2)
    )
    found = outcome(straggler.RULE, whole, LIMITS)
    assert isinstance(found, Finding) and found.processes == [1]
    assert found.share == pytest.approx(0.75, abs=0.01)
    assert "rank 1 on node-b" in found.headline


def test_ranks_that_differ_by_chance_have_no_straggler() -> None:
    equal = job(trace_of_rank("node-a", 0, 5), trace_of_rank("node-b", 1, 5))
    assert outcome(straggler.RULE, equal, LIMITS) == Clear("straggler")


def test_a_straggler_is_not_checked_where_steps_differ_in_length_or_one_rank_is_alone() -> None:
    slower = Loop()
    for _ in range(STEPS):
        slower.next().backward(16)
    slower.sampled("thread_states", 1, state="running")
    place = {"host": "node-b", "boot_id": "node-b"}
    other = slower.trace(manifest=place, processes=[build.MAIN | place | {"rank": 1}])
    apart = outcome(straggler.RULE, job(trace_of_rank("node-a", 0, 2), other), LIMITS)
    assert isinstance(apart, NotChecked) and apart.group == "other"
    alone = outcome(straggler.RULE, trace_of_rank("node-a", 0, 2), LIMITS)
    assert isinstance(alone, NotChecked) and alone.group == "one-process"


@pytest.mark.parametrize(("busy_cores", "named"), [(3.9, False), (1.9, True)])
def test_a_rank_that_waits_for_a_core_is_not_a_straggler(busy_cores: float, named: bool) -> None:
    """Rank 1 runs while rank 0 waits for it; its steps are longer because it waits for a core."""
    loops = [Loop(), Loop(process=1, tid=101)]
    states = []
    for rank, loop in enumerate(loops):
        for number in range(STEPS):
            loop.next().backward(8)
            states += [
                {
                    "process": rank,
                    "tid": 100 + rank,
                    "ts": MS * (9 * number + at) + MS // 2,
                    "state": state,
                }
                for at, state in enumerate(
                    ("poll", *("running" if rank or at < 6 else "lock" for at in range(8)))
                )
            ]
    used = counters(
        loops[0].at,
        {
            **{(rank, -1, "cpu_ns"): 0.9e9 for rank in (0, 1)},
            (-1, -1, "host_cpu_busy_ns"): busy_cores * 1e9,
            (0, 100, "run_delay_ns"): 0.05e9,
            (1, 101, "run_delay_ns"): 0.3e9,
        },
    )
    used.append({"process": -1, "tid": -1, "ts": 0, "name": "host_cpu_count", "value": 4.0})
    trace = trace_of_two_ranks(*loops, thread_states=states, counters=used)
    assert trace.fact(rank_waiting)["peer_share"].tolist() == pytest.approx([2 / 9, 0.0])
    found = outcome(straggler.RULE, trace, LIMITS)
    assert isinstance(found, Finding) == named


def trace_of_two_processes(second_begins_ms: float) -> Trace:
    """Return the trace of two processes in steps of 9 ms, of which the second begins later.

    In backward, the first waits and the second computes.
    """
    loops = [Loop(), Loop(process=1, tid=101).idle(second_begins_ms)]
    for loop, state in zip(loops, ("lock", "running"), strict=True):
        for _ in range(STEPS):
            loop.next().backward(8)
        loop.sampled("thread_states", 1, state=state)
    return trace_of_two_ranks(*loops)


def test_processes_that_run_one_after_the_other_are_not_ranks_of_one_job() -> None:
    at_once, in_turn = trace_of_two_processes(0), trace_of_two_processes(STEPS * 9 + 50)
    found = outcome(straggler.RULE, at_once, LIMITS)
    assert isinstance(found, Finding) and found.processes == [1]
    assert not diagnose_trace(at_once).sequential_processes
    assert describe_subject(at_once)[0] == "train.py (2 ranks)"
    found = outcome(straggler.RULE, in_turn, LIMITS)
    assert isinstance(found, NotChecked) and found.group == "one-process"
    assert in_turn.fact(time_budget)["peer-wait"].sum() == 0
    assert "2 processes" in describe_subject(in_turn)[0]
    diagnosis = diagnose_trace(in_turn)
    assert diagnosis.sequential_processes
    assert "one after the other" in rank_bars(diagnosis, TerminalLayout())[-2].plain
    assert "one after the other" in rank_rows(diagnosis)


FINDING = Finding("x", None, "warning", 1.0, 0.1, None, "Something", [], [])
COSTLIER = Finding("x", None, "warning", 2.0, 0.2, None, "Something", [], [])


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([Clear("x"), Clear("x")], Clear("x")),
        ([NotChecked("x", "no"), NotChecked("x", "no")], NotChecked("x", "no")),
        ([NotChecked("x", "no"), Clear("x")], NotChecked("x", "a: no")),
        ([Clear("x"), Failed("x", "broke")], Failed("x", "b: broke")),
        ([FINDING, Clear("x")], "On a: Something"),
        ([FINDING, COSTLIER], "On b (also on a): Something"),
    ],
)
def test_the_outcomes_of_hosts_become_one_with_the_name_of_its_host(
    outcomes: list[Outcome], wanted: object
) -> None:
    found = together(list(zip("ab", outcomes, strict=True)))
    assert (found.headline if isinstance(found, Finding) else found) == wanted
