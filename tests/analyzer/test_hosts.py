"""A job on several hosts: what is said of a machine is looked for on each, what is said of ranks
over all.
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
from perfscope.analyzer.run.host_load import host_load
from perfscope.analyzer.run.rank_waiting import rank_waiting
from perfscope.analyzer.verdict.hosts import Outcome, host_views, together
from perfscope.traces.jobs.job import merge_parts
from perfscope.traces.jobs.recordings import JobParts, MemberTrace
from perfscope.traces.trace import Trace
from perfscope.ui.html.rank_rows import rank_rows
from perfscope.ui.phrases import describe_subject
from perfscope.ui.terminal.layout import TerminalLayout
from perfscope.ui.terminal.rank_bars import rank_bars
from tests import build
from tests.analyzer.claims import claim
from tests.analyzer.loop import MS, Loop
from tests.analyzer.pipelines import counters, host

STEPS = 60


def part(
    name: str, rank: int, busy_of_8: int, *, cores: float = 2.0, throttled: bool = False
) -> Trace:
    """One rank in steps of 9 ms; in its backward `busy_of_8` of eight samples are of a running
    thread, the others wait.
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
    said: dict[str, Any] = {
        "host": name,
        "boot_id": name,
        "usable_cores": {"cores": cores, "affinity": 4},
        "depth": "kernels",
    }
    return loop.trace(manifest=said, processes=[main], thread_states=states, counters=used, ops=ops)


def job(*parts: Trace) -> Trace:
    return merge_parts(
        JobParts([MemberTrace(Path(str(at)), True, one, None, -1) for at, one in enumerate(parts)]),
        None,
    )


def test_each_host_has_its_own_tables_and_manifest_again() -> None:
    whole = job(part("node-a", 0, 2), part("node-b", 1, 8, cores=1.0))
    counted = whole.table("counters")
    assert counted is not None and sorted(set(counted["process"])) == [-2, -1, 0, 1]
    first, second = whole.fact(host_views)
    assert (first.manifest.host, second.manifest.host) == ("node-a", "node-b")
    ops = second.table("ops")
    assert ops is not None and ops["parent"].tolist() == [-1, 0] and set(ops["process"]) == {1}
    loads = [one.fact(host_load) for one in (first, second)]
    assert [one.usable_cores for one in loads] == [2.0, 1.0]
    assert [one.tree_cores for one in loads] == pytest.approx([1.0, 1.0])
    assert [one.host_busy for one in loads] == pytest.approx([0.5, 0.5])
    assert host_views(part("node-a", 0, 2))[0].manifest.host == "node-a"
    waits = first.fact(time_budget)["peer-wait"]
    assert len(waits) and (waits > 0).all(), (
        "what a rank waits for another host's is known on its own"
    )


def test_ranks_in_step_wait_for_the_one_that_waits_least() -> None:
    whole = job(part("node-a", 0, 2), part("node-b", 1, 8))
    waits = whole.fact(rank_waiting)
    assert waits["waiting_share"].tolist() == pytest.approx([6 / 8, 0.0])
    assert waits["peer_share"].tolist() == pytest.approx([6 / 8, 0.0])
    budget = whole.fact(time_budget)
    assert (budget[list(CATEGORY_IDS)].sum(axis=1) == budget["dur"]).all()
    assert budget.groupby("rank")["peer-wait"].sum().tolist() == pytest.approx(
        [0.75 * 9 * MS * (STEPS - 2), 0]
    )
    told = diagnose_trace(whole)
    assert told.verdict.id == "straggler" and "rank 1 on node-b" in told.verdict.headline
    hosts = [told.host_of(budget.process) for budget in told.per_process]
    assert told.budget_rank == 1 and hosts == ["node-a", "node-b"]
    assert "> rank 1 node-b" in "\n".join(line.plain for line in rank_bars(told, TerminalLayout()))


def sleeper(name: str, rank: int) -> Trace:
    """One rank in steps of 9 ms that sleeps, most of them outside of torch's calls."""
    loop = Loop()
    for _ in range(STEPS):
        loop.next().idle(6).backward(2)
    loop.sampled("thread_states", 1, state="sleep")
    said = {"host": name, "boot_id": name}
    return loop.trace(manifest=said, processes=[build.MAIN | said | {"rank": rank}])


def test_a_rank_that_sleeps_by_itself_waits_for_no_peer() -> None:
    found = outcome(straggler.RULE, job(part("node-a", 0, 2), sleeper("node-b", 1)), LIMITS)
    assert isinstance(found, Finding) and found.processes == [1]
    assert "for rank 1 on node-b" in found.headline and "it is idle" in claim(found)


def test_a_host_whose_ranks_are_all_slow_is_named_itself() -> None:
    def of_two(name: str, first: int, busy: int) -> Trace:
        return part(name, first, busy)

    whole = job(of_two("node-a", 0, 2), of_two("node-b", 1, 8), of_two("node-c", 2, 2))
    found = outcome(straggler.RULE, whole, LIMITS)
    assert isinstance(found, Finding) and found.processes == [1]
    assert "the 2 other ranks wait 75 % of each step for rank 1 on node-b" in found.headline


def test_differences_no_larger_than_chance_and_steps_of_their_own_name_nobody() -> None:
    assert outcome(
        straggler.RULE, job(part("node-a", 0, 5), part("node-b", 1, 5)), LIMITS
    ) == Clear("straggler")
    slower = Loop()
    for _ in range(STEPS):
        slower.next().backward(16)
    slower.sampled("thread_states", 1, state="running")
    said = {"host": "node-b", "boot_id": "node-b"}
    other = slower.trace(
        manifest=said, processes=[build.MAIN | {"rank": 1, "host": "node-b", "boot_id": "node-b"}]
    )
    apart = outcome(straggler.RULE, job(part("node-a", 0, 2), other), LIMITS)
    assert isinstance(apart, NotChecked) and "not equally long" in apart.reason
    alone = outcome(straggler.RULE, part("node-a", 0, 2), LIMITS)
    assert isinstance(alone, NotChecked) and "one process" in alone.reason


@pytest.mark.parametrize(("busy_cores", "named"), [(3.9, False), (1.9, True)])
def test_waiting_for_a_core_in_turn_makes_no_straggler(busy_cores: float, named: bool) -> None:
    """Rank 1 runs while rank 0 waits for it; what it does longer is to wait for a core."""
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
    second = build.MAIN | {"process": 1, "pid": 101, "ns_pid": 101, "rank": 1, "local_rank": 1}
    rows = {name: loops[0].tables[name] + loops[1].tables[name] for name in ("loader", "ranges")}
    trace = build.trace(processes=[build.MAIN, second], thread_states=states, counters=used, **rows)
    assert trace.fact(rank_waiting)["peer_share"].tolist() == pytest.approx([2 / 9, 0.0])
    found = outcome(straggler.RULE, trace, LIMITS)
    assert isinstance(found, Finding) == named


def in_a_row(second_begins_ms: float) -> Trace:
    """Two processes in steps of 9 ms, the second from then on: the first waits in each backward,
    the second computes.
    """
    loops = [Loop(), Loop(process=1, tid=101).idle(second_begins_ms)]
    for loop, state in zip(loops, ("lock", "running"), strict=True):
        for _ in range(STEPS):
            loop.next().backward(8)
        loop.sampled("thread_states", 1, state=state)
    tables = {name: loops[0].tables[name] + loops[1].tables[name] for name in loops[0].tables}
    second = build.MAIN | {"process": 1, "pid": 101, "rank": 1}
    return build.trace(processes=[build.MAIN, second], **tables)


def test_processes_that_run_one_after_the_other_are_no_ranks_of_one_job() -> None:
    together, apart = in_a_row(0), in_a_row(STEPS * 9 + 50)
    found = outcome(straggler.RULE, together, LIMITS)
    assert isinstance(found, Finding) and found.processes == [1]
    assert describe_subject(together)[0] == "train.py (2 ranks)"
    found = outcome(straggler.RULE, apart, LIMITS)
    assert isinstance(found, NotChecked) and "one after the other" in found.reason
    assert apart.fact(time_budget)["peer-wait"].sum() == 0
    assert describe_subject(apart)[0] == "train.py (2 processes, one after the other)"
    told = {trace: diagnose_trace(trace) for trace in (together, apart)}
    assert (told[together].sequential_processes, told[apart].sequential_processes) == (False, True)
    assert "one after the other" in rank_bars(told[apart], TerminalLayout())[
        -2
    ].plain and "one after the other" in rank_rows(told[apart])


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
def test_one_outcome_of_those_of_the_hosts(outcomes: list[Outcome], wanted: object) -> None:
    found = together(list(zip("ab", outcomes, strict=True)))
    assert (found.headline if isinstance(found, Finding) else found) == wanted
