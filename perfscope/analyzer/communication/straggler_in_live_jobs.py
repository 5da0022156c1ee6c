"""Ranks of a live job that go in step: which one the others wait for, what it does longer, and on
which host it is.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.categories import (
    CATEGORY,
    CHECKPOINT,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COPY,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.run.cumulative_counters import used
from perfscope.analyzer.run.host_load import host_load, window
from perfscope.analyzer.run.local_ranks import main_processes, ranks_at_once
from perfscope.analyzer.run.rank_waiting import in_step, rank_waiting
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

CAUSES = {INPUT_WAIT: "input", CHECKPOINT: "checkpoint"}
"""What a rank does longer that has a finding of its own, and the straggler's cause then."""
COMPARED = (
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    HOST_BOUND,
    INPUT_WAIT,
    CHECKPOINT,
    EXPOSED_COPY,
    OTHER_IDLE,
)
"""Categories in which a rank can be slower than its peers."""


def why_not(trace: Trace) -> str | None:
    """Why ranks cannot be held against each other, None when they can."""
    rows = trace.fact(rank_waiting)
    if len(rows) < 2 and not trace.has_profiled_work and ranks_at_once(trace) < 2:
        if len(main_processes(trace)) > 1:
            return (
                "the processes of the job ran one after the other: none of them waited for another"
            )
        return "one process was recorded: nobody waits for it"
    if len(rows) < 2:
        return (
            "needs two ranks or more: the traces of all (name their folder, or all their files), or"
            " recordings of all (`--all-ranks`, and every host's run folder)"
        )
    if not len(most_waiting(rows)):
        return "the ranks' steps are not equally long: they do not wait for each other in each step"
    return None


def most_waiting(rows: pd.DataFrame) -> pd.DataFrame:
    """Of ranks that worked at the same time and go in step: those of `rank_waiting` that wait most
    for one of them, or none.
    """
    groups = [own for _, own in rows.groupby("group") if in_step(own)]
    return max(
        groups, key=lambda own: float(own["peer_share"].mean()), default=rows.iloc[:0]
    ).reset_index(drop=True)


def straggler(trace: Trace, id: str, limits: Limits) -> Finding | None:
    """The rank that waits least while the others wait for it."""
    rows = most_waiting(trace.fact(rank_waiting))
    last = rows.iloc[int(np.argmin(rows["waiting_share"].to_numpy()))]
    others = rows[rows["rank"] != last["rank"]]
    share = float(others["peer_share"].mean())
    step_ns = float(last["step_ns"])
    slow = rows[rows["peer_share"] <= share / 2]
    in_turn_ns = longer_without_a_core(trace, slow, rows, limits)
    share -= in_turn_ns / step_ns
    if share < limits.worth_share:
        return None
    budget = trace.fact(steady_budget)
    steps = int((column(budget, "process") == int(last["process"])).sum())
    where = _where(last, slow, rows)
    category, doing = longer(budget, slow, rows)
    waiting = rows[~rows["rank"].isin(slow["rank"])]
    who = (
        "the other rank waits"
        if len(waiting) == 1
        else f"the {plural(len(waiting), 'other rank')} wait"
    )
    waited = percent(float(waiting["peer_share"].mean()))
    return Finding(
        id=id,
        cause=CAUSES.get(category),
        severity=severity_of(share, limits),
        rank=int(last["rank"]),
        lost_s=round(share * step_ns * steps / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=f"Straggler: {who} {waited} of each step for {where}",
        explanation=f"Compared with the other ranks, {doing}." if doing else "",
        evidence=[*_waits(rows, budget), *_in_turn(in_turn_ns), *_cores(trace, rows)],
        actions=_actions(category, where),
    )


def _in_turn(waited_ns: float) -> list[Evidence]:
    """What of the waiting is left to the findings about cores."""
    if waited_ns <= 0.0:
        return []
    text = (
        f"{ms(waited_ns)} of it, not counted here, the slow rank itself waits longer for a core:"
        " the cores are full"
    )
    return [Evidence(text, round(waited_ns / 1e6, 3), "ms")]


def _actions(category: str, where: str) -> list[Action]:
    """What to look at, by what the rank does longer."""
    if category == CHECKPOINT:
        return [
            Action(
                "write in the background, or less often: the other ranks wait for the one that"
                " writes"
            )
        ]
    found = [
        Action(
            f"look at {where}: its cores and their clock, what else runs there, its storage, the"
            " size of its batches"
        )
    ]
    even = (
        "if its samples are larger: group samples by size, so that every rank gets as much work in"
        " each step"
    )
    return [*found, Action(even)]


def longer_without_a_core(
    trace: Trace, slow: pd.DataFrame, rows: pd.DataFrame, limits: Limits
) -> float:
    """Nanoseconds a step that the slow ranks' loops wait longer for a core than the others', where
    the cores of their one host are full: which of its ranks that hits is chance, and the findings
    of the cores tell of it.
    """
    if rows["host"].nunique() > 1 or not trace.fact(host_load).full(limits.idle_share):
        return 0.0
    delays = {line.process: line.main_delay for line in trace.fact(input_pipelines)}
    hit = [delays.get(code, 0.0) for code in slow["process"]]
    spared = [delays.get(code, 0.0) for code in rows["process"] if code not in set(slow["process"])]
    return max(float(np.mean(hit)) - float(np.mean(spared)), 0.0) if hit and spared else 0.0


def _where(last: "pd.Series[float]", slow: pd.DataFrame, rows: pd.DataFrame) -> str:
    """`node-b` where its ranks are the slow ones, else the rank and its host."""
    host = str(last["host"])
    several = rows["host"].nunique() > 1
    of_host = rows[rows["host"] == host]
    if several and len(of_host) > 1 and set(slow["rank"]) == set(of_host["rank"]):
        return f"{host} (ranks {', '.join(str(rank) for rank in of_host['rank'])})"
    return f"rank {int(last['rank'])}" + (f" on {host}" if several else "")


def longer(budget: pd.DataFrame, slow: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, str]:
    """What the slow ranks spend more of each step in than the others: its category and the words,
    "" for nothing.
    """
    if not len(budget) or len(slow) == len(rows):
        return "", ""
    means = budget.groupby("process")[list(COMPARED)].mean()
    mine = means.loc[[code for code in slow["process"] if code in means.index]].mean()
    usual = means.drop(index=[code for code in slow["process"] if code in means.index]).median()
    more = mine - usual
    category = str(more.idxmax())
    if more[category] <= 0:
        return "", ""
    return category, CATEGORY[category].longer.format(ms(float(more[category])))


def _waits(rows: pd.DataFrame, budget: pd.DataFrame) -> list[Evidence]:
    """What each rank waits for peers in a step, the one that waits least first."""
    found = []
    for one in rows.sort_values("peer_share").head(8).to_dict("records"):
        of = f" on {one['host']}" if rows["host"].nunique() > 1 else ""
        wait_ns = one["peer_share"] * one["step_ns"]
        waits = f"{ms(wait_ns)} of {ms(one['step_ns'])} for its peers"
        if wait_ns <= 0:
            waits = f"for nobody in steps of {ms(one['step_ns'])}"
        text = f"rank {one['rank']}{of}: waits {waits} ({int(one['samples'])} samples)"
        own = budget[column(budget, "process") == int(one["process"])]
        begin = int(own["ts"].iloc[0]) if len(own) else None
        end = None if begin is None else begin + int(own["dur"].iloc[0])
        found.append(
            Evidence(
                text,
                round(wait_ns / 1e6, 3),
                "ms",
                begin,
                end,
                int(one["rank"]),
                int(one["process"]),
            )
        )
    return found


def _cores(trace: Trace, rows: pd.DataFrame) -> list[Evidence]:
    """Where a rank's threads wait for a core, and hosts that may use different numbers of cores."""
    begin, end = window(trace)
    delay = {process: ns for (process, _), ns in used(trace, "run_delay_ns", begin, end).items()}
    found = []
    for one in rows.to_dict("records"):
        waited = delay.get(int(one["process"]), 0.0) / max(end - begin, 1)
        if waited >= 0.1:
            text = (
                f"rank {one['rank']} on {one['host']}: its threads wait {digits(waited)} s in each"
                " second for a core"
            )
            found.append(
                Evidence(
                    text,
                    round(waited, 3),
                    "s/s",
                    rank=int(one["rank"]),
                    process=int(one["process"]),
                )
            )
    cores = {
        one.host: one.usable_cores.cores for one in trace.manifests if one.usable_cores is not None
    }
    if len(set(cores.values())) > 1:
        text = "usable cores: " + ", ".join(
            f"{host} {digits(count)}" for host, count in cores.items()
        )
        found.append(Evidence(text, min(cores.values()), "cores"))
    return found
