"""The waits lie between steps, outside of modules, backward and optimizer, and no PyTorch loader is
asked: DALI, FFCV, own code, a thread that prefetches.
"""

import math

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.loader_case import Case, Remedy, beside, wait_evidence
from perfscope.analyzer.number_text import ms, percent

CAUSE = "unknown-loader"


def applies(case: Case) -> bool:
    """Is the wait in the gaps between steps, or for a loader of another kind that the program has
    named?
    """
    return case.gap_is_input or case.pipeline.workers < 0


def remedy(case: Case) -> Remedy:
    """Making the next batches beside the step, by one worker at least: the slowest of them, the
    step and the cores sets the pace.
    """
    line, workers = case.pipeline, workers_for(case)
    one, those, many = (
        beside(case, line.input_wait / count) for count in (1, workers, case.limits.most_workers)
    )
    after = After(one.slow, those.likely, many.fast)
    seen = case.between
    where = f", {percent(seen.share)} of it in `{seen.frame}`" if seen is not None else ""
    return Remedy(
        after=after,
        text=(
            f"{ms(line.input_wait)} of each {ms(line.step)} step pass between steps, outside any"
            f" module, backward and optimizer, in code outside any PyTorch DataLoader{where}."
        ),
        caveat="DataLoader workers cannot help: this loop does not use a DataLoader.",
        actions=[
            Action(
                "load the next batch while the step runs: move this code into a Dataset with a"
                " DataLoader and workers, or turn on prefetching in the loader in use",
                f"loader = DataLoader(dataset, batch_size=..., num_workers={workers},"
                " prefetch_factor=2)",
            )
        ],
        evidence=[
            wait_evidence(case),
            Evidence(
                "no PyTorch loader was asked in these steps",
                rank=line.rank,
                process=line.process,
                lane="main",
            ),
        ],
    )


def workers_for(case: Case) -> int:
    """With how many the batches keep up, no more than there are cores: whether making one needs a
    core is not known here.
    """
    line = case.pipeline
    keep_up = math.ceil(line.input_wait / max(case.limits.headroom * line.consumer, 1.0))
    return max(min(keep_up, int(case.load.usable_cores or 1) // max(case.ranks, 1)), 1)
