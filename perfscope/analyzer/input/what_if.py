"""What a step would take with other loader workers or batches that are cheaper to make: the closed
forms, asked freely.
"""

from dataclasses import dataclass, replace

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.input.input_bound import case_of, device_hides
from perfscope.analyzer.input.input_pipeline import Fetch, Pipeline, input_pipelines
from perfscope.analyzer.input.loader_case import beside, in_process, supply, taken_over
from perfscope.analyzer.limits import LIMITS, Limits
from perfscope.traces.trace import Trace

# How far the slider goes: beyond, the prediction would lean on what was never seen.
MOST_WORKERS = 32


@dataclass(frozen=True)
class WhatIf:
    """Step times in ns: as measured, and with the change; `why_not` says why nothing can be
    told.
    """

    step: float
    after: After | None
    why_not: str | None = None


def pipeline_of(trace: Trace, rank: int) -> Pipeline | None:
    """The input of a rank, or of the first rank that has one."""
    found = trace.fact(input_pipelines)
    return next((line for line in found if line.rank == rank), found[0] if found else None)


def what_if(trace: Trace, rank: int, workers: int, cost: float, limits: Limits = LIMITS) -> WhatIf:
    """`workers` loader workers, each batch costing `cost` (0 to 1) of what it costs now to make.
    Never below what cores allow.
    """
    line = pipeline_of(trace, rank)
    if line is None:
        return WhatIf(0.0, None, "no steady step was seen")
    if line.fetch is None:
        return WhatIf(line.step, None, "no fetch of a batch was seen")
    if device_hides(trace, line.process, line.input_wait / line.step):
        return WhatIf(
            line.step,
            None,
            "a device works beside the host, whose waits are no measure of the loss",
        )
    if workers == line.workers and cost == 1.0:
        return WhatIf(line.step, After(line.step, line.step, line.step))
    case = case_of(trace, line, limits)
    saved = line.needed(line.fetch.cpu) * (1.0 - cost)
    if workers == 0:
        alone = in_process(line, cost)
        return WhatIf(line.step, After(alone, alone, alone))
    cheaper = replace(case, pipeline=replace(line, fetch=scaled(line.fetch, cost)))
    price = taken_over(case, saved * max(case.ranks, 1))
    supplied = supply(cheaper, workers, line.fetch.wall * cost)
    return WhatIf(line.step, beside(cheaper, supplied, saved, price=price))


def scaled(fetch: Fetch, cost: float) -> Fetch:
    """A fetch that takes `cost` of its time; handing the batch on stays."""
    parts = ("wall", "dataset", "collate", "cpu", "run_delay", "io", "waiting")
    return replace(fetch, **{name: getattr(fetch, name) * cost for name in parts})
