"""What the processes of each role used together, second by second."""

import pandas as pd

from perfscope.analyzer.run.usage_over_time import usage_over_time
from perfscope.traces.trace import Trace

JOB = "job"
SECOND_NS = 1_000_000_000


def usage_by_role(trace: Trace) -> pd.DataFrame:
    """Columns role, name (str), ts (int64 ns, middle of the second), value (float64); names as in
    usage_over_time.

    A process counts with its mean over the second; the processes of a role are summed. Role `job`
    is the sum over all.
    """
    rows = trace.fact(usage_over_time)
    if not len(rows):
        return pd.DataFrame({"role": [], "name": [], "ts": [], "value": []})
    each = rows.assign(second=rows["ts"] // SECOND_NS).groupby(
        ["role", "name", "second", "process"], observed=True
    )
    means = each["value"].mean().reset_index()
    by_role = means.groupby(["role", "name", "second"], observed=True)["value"].sum().reset_index()
    whole = (
        means.groupby(["name", "second"], observed=True)["value"]
        .sum()
        .reset_index()
        .assign(role=JOB)
    )
    both = pd.concat([by_role, whole], ignore_index=True)
    return both.assign(ts=both["second"].astype("int64") * SECOND_NS + SECOND_NS // 2)[
        ["role", "name", "ts", "value"]
    ]
