"""The waits are between steps, in code that is not a PyTorch loader: DALI, FFCV, a prefetch thread.

The loop waits outside of modules, backward and optimizer.

How it is detected
    More than half of the input wait is between steps, outside of any PyTorch loader, or the process
    has no PyTorch loader. The explanation names the function that was sampled most often there.

When it is wrong
    A loop that sleeps between steps on purpose looks the same. So does one that does other work
    there, such as metrics or a simulation: check the function that the explanation names. Whether
    such a loader needs a core to load a batch is not known, so at most one worker per core is
    recommended.
"""

import math

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    predict_with_supply,
    wait_evidence,
)
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.step_time_models import After

CAUSE = "unknown-loader"

PREFETCH_BATCHES = Advice(
    "prefetch-batches",
    "load the next batch while the step runs: move this code into a Dataset with a DataLoader and"
    " workers, or turn on prefetching in the loader in use",
    "waits-outside-pytorch-loader",
    "Training waits between steps, and no PyTorch DataLoader is used there.",
)
ADVICE = (PREFETCH_BATCHES,)


def applies(case: LoaderCase) -> bool:
    """Return whether the wait is between steps, or for a loader that is not PyTorch's."""
    return case.gap_is_input or case.pipeline.workers < 0


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for batches that workers load while the step runs."""
    pipeline, workers = case.pipeline, workers_to_keep_up(case)
    slow, likely, fast = (
        predict_with_supply(case, pipeline.input_wait / count)
        for count in (1, workers, case.limits.most_workers)
    )
    code = case.gap_code
    where = f", {percent(code.share)} of it in `{code.frame}`" if code is not None else ""
    wait = f"{ms(pipeline.input_wait)} of each {ms(pipeline.step)} step"
    return PredictedFix(
        after=After(slow.slow, likely.likely, fast.fast),
        text=(
            f"{wait} pass between steps, outside any module, backward and optimizer, in code"
            f" outside any PyTorch DataLoader{where}."
        ),
        caveat="DataLoader workers cannot help: this loop does not use a DataLoader.",
        actions=PREFETCH_BATCHES.given(
            applies(case),
            f"{wait} outside a PyTorch DataLoader",
            snippet=(
                f"loader = DataLoader(dataset, batch_size=..., num_workers={workers},"
                " prefetch_factor=2)"
            ),
        ),
        evidence=[
            wait_evidence(case),
            Evidence(
                "no PyTorch loader was asked in these steps",
                process=pipeline.process,
                lane="main",
            ),
        ],
    )


def workers_to_keep_up(case: LoaderCase) -> int:
    """Return the number of workers with which batches keep up, at most one per core.

    Whether loading a batch needs a core is not known for other loaders.
    """
    pipeline = case.pipeline
    target = max(case.limits.headroom * pipeline.consumer, 1.0)
    cores = int(case.load.usable_cores or 1) // max(case.ranks, 1)
    return max(min(math.ceil(pipeline.input_wait / target), cores), 1)
