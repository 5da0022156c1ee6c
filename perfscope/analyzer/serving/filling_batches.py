"""Models whose requests wait while their instances are idle, by the counters of Triton.

The wait of random arrivals for a busy instance is known from queueing theory, and it changes from
second to second. A wait that is longer and always the same is the time limit of the batcher.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.limits import Limits
from perfscope.analyzer.serving.engine_samples import EngineSamples, label, series_of_rows
from perfscope.analyzer.serving.server_load import ServerLoad
from perfscope.traces.engine_metrics.meanings import Meaning

MODEL: Final = "model"
MOST_BUSY: Final = 0.7
"""The share of the time from which on one instance is saturated when requests queue."""
BEYOND_RANDOM: Final = 3.0
"""The wait must exceed that of random arrivals (M/M/1: busy / (1 - busy) executions) by this
factor: arrivals of real clients vary more.
"""
STEADY: Final = 0.5
"""The most by which the wait varies between readings, as standard deviation over mean."""
FEWEST_INTERVALS: Final = 5


@dataclass(frozen=True)
class FillingBatches:
    """A model whose requests wait `wait_s` each while one instance is busy `busy_share` of the
    time; `share` is that of their time.
    """

    load: ServerLoad
    model: str
    wait_s: float
    share: float
    busy_share: float
    batch: float
    """Requests per execution."""


def filling_batches(load: ServerLoad, limits: Limits) -> FillingBatches | None:
    """Return the model whose requests wait longest for batches to fill, None where none does."""
    samples = load.samples
    queue_s = samples.growth_by_label(Meaning.QUEUE, MODEL)
    cases = [case_of_model(load, model) for model in queue_s]
    found = [case for case in cases if case is not None and case.share >= limits.recoverable_share]
    return max(found, key=lambda case: case.wait_s, default=None)


def case_of_model(load: ServerLoad, model: str) -> FillingBatches | None:
    """Return the case of one model, None where its requests do not wait for a time limit."""
    samples = load.samples
    queue_s, whole_s, executions, requests = (
        samples.growth_by_label(meaning, MODEL).get(model, 0.0)
        for meaning in (Meaning.QUEUE, Meaning.E2E, Meaning.STEPS, Meaning.FINISHED)
    )
    if requests <= 0.0 or executions <= 0.0 or whole_s <= 0.0 or samples.span_s <= 0.0:
        return None
    execution_s = max(whole_s - queue_s, 0.0) / requests
    busy = execution_s * executions / samples.span_s
    wait_s = queue_s / requests
    if busy >= MOST_BUSY or wait_s <= BEYOND_RANDOM * execution_s * busy / (1.0 - busy):
        return None
    if not is_steady(samples, model):
        return None
    return FillingBatches(load, model, wait_s, queue_s / whole_s, busy, requests / executions)


def is_steady(samples: EngineSamples, model: str) -> bool:
    """Return whether requests wait the same time in all intervals between readings."""
    queue_s, requests = (
        interval_growth(samples, meaning, model) for meaning in (Meaning.QUEUE, Meaning.FINISHED)
    )
    if len(queue_s) != len(requests):
        return False
    is_used = requests > 0
    waits_s = queue_s[is_used] / requests[is_used]
    if len(waits_s) < FEWEST_INTERVALS:
        return False
    return float(waits_s.std()) <= STEADY * float(waits_s.mean())


def interval_growth(
    samples: EngineSamples, meaning: Meaning, model: str
) -> "np.typing.NDArray[np.float64]":
    """Return by how much a counter of a model grew from each reading to the next."""
    found = samples.rows_of_meaning(meaning)
    if found is None:
        return np.zeros(0)
    metric, rows = found
    whole = np.zeros(max(samples.readings - 1, 0))
    for series in series_of_rows(rows):
        if label(str(series["labels"].iloc[0]), MODEL) != model:
            continue
        values = series.set_index("ts")["value"].reindex(samples.times_ns).ffill().fillna(0.0)
        whole += np.maximum(np.diff(values.to_numpy(np.float64)), 0.0) * metric.scale
    return whole
