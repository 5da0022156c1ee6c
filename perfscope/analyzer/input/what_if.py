"""The step time with other loader workers, or with batches that are cheaper to load."""

from dataclasses import dataclass, replace

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.input.causes.too_few_workers import ADD_WORKERS
from perfscope.analyzer.input.input_bound import device_hides, loader_case_of
from perfscope.analyzer.input.input_pipeline import Fetch, Pipeline, input_pipelines
from perfscope.analyzer.input.loader_case import (
    handover_wait,
    predict_with_supply,
    recommended_workers,
    step_without_workers,
    supply_time,
)
from perfscope.analyzer.limits import LIMITS, Limits
from perfscope.analyzer.step_time_models import After
from perfscope.traces.trace import Trace

MOST_WORKERS = 32
"""The end of the slider: beyond it the prediction would rest on what was never measured."""


@dataclass(frozen=True)
class WhatIf:
    """Step times in ns, as measured and with the change; `why_not` says why none is predicted."""

    step: float
    after: After | None
    why_not: str | None = None


def pipeline_of(trace: Trace, rank: int) -> Pipeline | None:
    """Return the input pipeline of a rank, or of the first rank that has one."""
    pipelines = trace.fact(input_pipelines)
    of_rank = (pipeline for pipeline in pipelines if pipeline.rank == rank)
    return next(of_rank, pipelines[0] if pipelines else None)


def what_if(trace: Trace, rank: int, workers: int, cost: float, limits: Limits = LIMITS) -> WhatIf:
    """Return the step time with `workers` loader workers.

    Each batch takes `cost` (0 to 1) of what it takes now. The result is never below what the cores
    allow.
    """
    pipeline = pipeline_of(trace, rank)
    if pipeline is None:
        return WhatIf(0.0, None, "the recording has no steady step")
    step = pipeline.step
    if pipeline.fetch is None:
        return WhatIf(step, None, "the recording has no fetch of a batch")
    if device_hides(trace, pipeline.process):
        return WhatIf(step, None, "waits of the host may overlap with work on the device")
    if workers == pipeline.workers and cost == 1.0:
        return WhatIf(step, After(step, step, step))
    if workers == 0:
        without = step_without_workers(pipeline, cost)
        return WhatIf(step, After(without, without, without))
    case = loader_case_of(trace, pipeline, limits)
    saved_cpu = pipeline.needed(pipeline.fetch.cpu) * (1.0 - cost)
    cheaper_fetch = scale_fetch(pipeline.fetch, cost)
    cheaper = replace(case, pipeline=replace(pipeline, fetch=cheaper_fetch))
    handover = handover_wait(case, saved_cpu * max(case.ranks, 1))
    supplied = supply_time(cheaper, workers, pipeline.fetch.wall * cost)
    return WhatIf(step, predict_with_supply(cheaper, supplied, saved_cpu, handover=handover))


def workers_of_verdict(trace: Trace, diagnosis: Diagnosis) -> int | None:
    """Return the number of loader workers that the verdict recommends, None where it recommends
    another change.

    `what_if` with it is the step time that the verdict predicts.
    """
    key, rank = diagnosis.verdict.finding_key, diagnosis.budget_rank
    finding = next((each for each in diagnosis.findings if each.key == key), None)
    if finding is None or not finding.actions or rank is None:
        return None
    if finding.actions[0].id != ADD_WORKERS.id:
        return None
    pipeline = pipeline_of(trace, rank)
    if pipeline is None or pipeline.fetch is None:
        return None
    return recommended_workers(loader_case_of(trace, pipeline, LIMITS))


def scale_fetch(fetch: Fetch, cost: float) -> Fetch:
    """Return a fetch that takes `cost` of its time; sending the batch takes as long as before."""
    parts = ("wall", "dataset", "collate", "cpu", "run_delay", "io", "waiting")
    return replace(fetch, **{name: getattr(fetch, name) * cost for name in parts})
