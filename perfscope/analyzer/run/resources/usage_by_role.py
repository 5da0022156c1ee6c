"""What the processes of each role use together, per second."""

import pandas as pd

from perfscope.analyzer.run.resources.usage_over_time import usage_over_time
from perfscope.traces.trace import Trace

JOB = "job"
SECOND_NS = 1_000_000_000


def usage_by_role(trace: Trace) -> pd.DataFrame:
    """Return the usage of each role per second, in long form.

    Columns: role, name (str), ts (int64 ns, middle of the second), value (float64); names as in
    `usage_over_time`. A process counts with its mean over the second; the processes of a role are
    summed. Role `job` is the sum over all.
    """
    rows = trace.fact(usage_over_time)
    if not len(rows):
        return pd.DataFrame({"role": [], "name": [], "ts": [], "value": []})
    by_second = rows.assign(second=rows["ts"] // SECOND_NS)
    processes = by_second.groupby(["role", "name", "second", "process"], observed=True)
    means = processes["value"].mean().reset_index()
    by_role = means.groupby(["role", "name", "second"], observed=True)["value"].sum().reset_index()
    of_job = means.groupby(["name", "second"], observed=True)["value"].sum().reset_index()
    both = pd.concat([by_role, of_job.assign(role=JOB)], ignore_index=True)
    middle = both["second"].astype("int64") * SECOND_NS + SECOND_NS // 2
    return both.assign(ts=middle)[["role", "name", "ts", "value"]]
