"""The straggler of a live job whose ranks step together: which rank the others wait for, what it
does longer, and on which host it runs.
"""

from dataclasses import dataclass
from typing import Final

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
from perfscope.analyzer.communication.straggler_advice import CAUSES, actions_in_live_jobs
from perfscope.analyzer.diagnosis import Evidence, Finding
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.ranks.local_ranks import main_processes, ranks_at_once
from perfscope.analyzer.run.ranks.rank_waiting import have_equal_steps, rank_waiting
from perfscope.analyzer.run.resources.cumulative_counters import counter_growth
from perfscope.analyzer.run.resources.host_load import host_load, window
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

COMPARED: Final = (
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    HOST_BOUND,
    INPUT_WAIT,
    CHECKPOINT,
    EXPOSED_COPY,
    OTHER_IDLE,
)
"""Categories in which a rank can be slower than its peers."""
SHOWN_CORE_WAIT: Final = 0.1
"""Seconds per second without a core from which on a rank's wait for cores is shown."""
MOST_RANKS: Final = 8


@dataclass(frozen=True)
class SteppingRanks:
    """Ranks that step together (rows of `rank_waiting`), the last of them, and the slow ones.

    `share` is the mean share of a step that the others wait for peers.
    """

    rows: pd.DataFrame
    last: "pd.Series[float]"
    share: float
    slow: pd.DataFrame
    waiting: pd.DataFrame


def not_comparable(trace: Trace) -> Unmet | None:
    """Return why the ranks of a live job cannot be compared, None when they can."""
    rows = trace.fact(rank_waiting)
    if len(rows) < 2 and not trace.has_profiled_work and ranks_at_once(trace) < 2:
        if len(main_processes(trace)) > 1:
            return Unmet(
                "one-process",
                "the processes of the job ran one after the other: none waited for another",
            )
        return Unmet("one-process", "one process was recorded: no other waits for it")
    if len(rows) < 2:
        return Unmet(
            "one-process",
            "needs two ranks or more: the traces of all (name their folder, or all their files), or"
            " recordings of all (`--all-ranks`, and every host's run folder)",
        )
    if not len(most_waiting_group(rows)):
        return Unmet(
            "other",
            "the ranks' steps are not equally long: they do not wait for each other in each step",
        )
    return None


def most_waiting_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the ranks that step together and wait most for one of them; empty without any."""
    groups = [group for _, group in rows.groupby("group") if have_equal_steps(group)]
    if not groups:
        return rows.iloc[:0].reset_index(drop=True)
    worst = max(groups, key=lambda group: float(group["peer_share"].mean()))
    return worst.reset_index(drop=True)


def straggler_of_live_job(trace: Trace, id: str, limits: Limits) -> Finding | None:
    """Return the finding about the rank that waits least while the others wait for it."""
    ranks = stepping_ranks(trace)
    step_ns = float(ranks.last["step_ns"])
    core_wait_ns = longer_core_wait(trace, ranks, limits)
    share = ranks.share - core_wait_ns / step_ns
    if share < limits.worth_share:
        return None
    budget = trace.fact(steady_budget)
    process = int(ranks.last["process"])
    steps = int((column(budget, "process") == process).sum())
    subject = slow_ranks_label(ranks)
    category, excess = most_excessive_category_live(budget, ranks)
    waited = percent(float(ranks.waiting["peer_share"].mean()))
    return Finding(
        id=id,
        cause=CAUSES.get(category),
        severity=severity_of(share, limits),
        lost_s=round(share * step_ns * steps / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=f"Straggler: {waiting_ranks(ranks)} {waited} of each step for {subject}",
        explanation=f"Compared with the other ranks, {excess}." if excess else "",
        evidence=[
            *peer_wait_evidence(ranks, budget),
            *shared_core_evidence(core_wait_ns),
            *rank_core_evidence(trace, ranks.rows),
        ],
        actions=actions_in_live_jobs(
            category, subject, excess, f"the others wait {waited} of each step"
        ),
        processes=[process],
    )


def stepping_ranks(trace: Trace) -> SteppingRanks:
    """Return the ranks of the group that waits most, and which of them are slow."""
    rows = most_waiting_group(trace.fact(rank_waiting))
    last = rows.iloc[int(np.argmin(rows["waiting_share"].to_numpy()))]
    others = rows[rows["rank"] != last["rank"]]
    share = float(others["peer_share"].mean())
    slow = rows[rows["peer_share"] <= share / 2]
    return SteppingRanks(rows, last, share, slow, rows[~rows["rank"].isin(slow["rank"])])


def waiting_ranks(ranks: SteppingRanks) -> str:
    """Return the waiting ranks as the subject of a sentence, with its verb."""
    count = len(ranks.waiting)
    return "the other rank waits" if count == 1 else f"the {plural(count, 'other rank')} wait"


def slow_ranks_label(ranks: SteppingRanks) -> str:
    """Return `node-b (ranks 2, 3)` where all its ranks are slow, else the last rank."""
    rows, last = ranks.rows, ranks.last
    host = str(last["host"])
    several_hosts = rows["host"].nunique() > 1
    of_host = rows[rows["host"] == host]
    if several_hosts and len(of_host) > 1 and set(ranks.slow["rank"]) == set(of_host["rank"]):
        return f"{host} (ranks {', '.join(str(rank) for rank in of_host['rank'])})"
    return f"rank {int(last['rank'])}" + (f" on {host}" if several_hosts else "")


def longer_core_wait(trace: Trace, ranks: SteppingRanks, limits: Limits) -> float:
    """Return the ns per step that slow ranks wait longer for a core, where their host is full.

    Which rank of a full host waits for a core is chance; the findings about cores count that time.
    """
    rows = ranks.rows
    if rows["host"].nunique() > 1 or not trace.fact(host_load).full(limits.idle_share):
        return 0.0
    delays = {line.process: line.main_delay for line in trace.fact(input_pipelines)}
    slow_codes = set(ranks.slow["process"])
    slow = [delays.get(code, 0.0) for code in rows["process"] if code in slow_codes]
    others = [delays.get(code, 0.0) for code in rows["process"] if code not in slow_codes]
    if not slow or not others:
        return 0.0
    return max(float(np.mean(slow)) - float(np.mean(others)), 0.0)


def most_excessive_category_live(budget: pd.DataFrame, ranks: SteppingRanks) -> tuple[str, str]:
    """Return the category that slow ranks spend most more of a step in, and it in words.

    Both are "" where there is none.
    """
    if not len(budget) or len(ranks.slow) == len(ranks.rows):
        return "", ""
    means = budget.groupby("process")[list(COMPARED)].mean()
    slow_codes = [code for code in ranks.slow["process"] if code in means.index]
    more_ns = means.loc[slow_codes].mean() - means.drop(index=slow_codes).median()
    category = str(more_ns.idxmax())
    if more_ns[category] <= 0:
        return "", ""
    return category, CATEGORY[category].longer.format(ms(float(more_ns[category])))


def peer_wait_evidence(ranks: SteppingRanks, budget: pd.DataFrame) -> list[Evidence]:
    """Return how long each rank waits for peers per step, the one that waits least first."""
    several_hosts = ranks.rows["host"].nunique() > 1
    found = []
    for row in ranks.rows.sort_values("peer_share").head(MOST_RANKS).to_dict("records"):
        process, step_ns = int(row["process"]), float(row["step_ns"])
        wait_ns = row["peer_share"] * step_ns
        on_host = f" on {row['host']}" if several_hosts else ""
        waits = f"{ms(wait_ns)} of {ms(step_ns)} for its peers"
        if wait_ns <= 0:
            waits = f"for no peer in steps of {ms(step_ns)}"
        text = f"rank {row['rank']}{on_host}: waits {waits} ({int(row['samples'])} samples)"
        steps = budget[column(budget, "process") == process]
        begin_ns = int(steps["ts"].iloc[0]) if len(steps) else None
        end_ns = None if begin_ns is None else begin_ns + int(steps["dur"].iloc[0])
        value = round(wait_ns / 1e6, 3)
        found.append(Evidence(text, value, "ms", begin_ns, end_ns, process=process))
    return found


def shared_core_evidence(waited_ns: float) -> list[Evidence]:
    """Return the part of the waiting that the findings about cores count."""
    if waited_ns <= 0.0:
        return []
    text = (
        f"{ms(waited_ns)} of it, not counted here, the slow rank itself waits longer for a core:"
        " the cores are full"
    )
    return [Evidence(text, round(waited_ns / 1e6, 3), "ms")]


def rank_core_evidence(trace: Trace, rows: pd.DataFrame) -> list[Evidence]:
    """Return ranks whose threads wait for a core, and usable cores where hosts differ."""
    begin_ns, end_ns = window(trace)
    delays = counter_growth(trace, "run_delay_ns", begin_ns, end_ns).items()
    delay_ns = {process: ns for (process, _), ns in delays}
    found = []
    for row in rows.to_dict("records"):
        process = int(row["process"])
        waited = delay_ns.get(process, 0.0) / max(end_ns - begin_ns, 1)
        if waited >= SHOWN_CORE_WAIT:
            text = (
                f"rank {row['rank']} on {row['host']}: its threads wait {digits(waited)} s in each"
                " second for a core"
            )
            found.append(Evidence(text, round(waited, 3), "s/s", process=process))
    cores = {
        manifest.host: manifest.usable_cores.cores
        for manifest in trace.manifests
        if manifest.usable_cores is not None
    }
    if len(set(cores.values())) > 1:
        counts = ", ".join(f"{host} {digits(count)}" for host, count in cores.items())
        found.append(Evidence(f"usable cores: {counts}", min(cores.values()), "cores"))
    return found
