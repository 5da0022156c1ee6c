"""The waits lie between steps, outside torch, and no PyTorch loader is asked: DALI, FFCV, a thread that prefetches, own
code.
"""

from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input_case import Case, Remedy, beside, wait_evidence
from perfscope.analyzer.wording import ms, percent

CAUSE = "unknown-loader"


def applies(case: Case) -> bool:
    """Is the wait in the gaps between steps, or for a loader of another kind that the program has named?"""
    return case.gap_is_input or case.pipeline.workers < 0


def remedy(case: Case) -> Remedy:
    """Making the next batch beside the step: the slower of the two sets the pace."""
    line = case.pipeline
    after = beside(case, line.input_wait)
    return Remedy(
        after=after,
        text=f"{ms(line.input_wait)} of each {ms(line.step)} step go by between steps, outside torch, in code that is "
        "no "
        f"PyTorch loader ({percent(line.input_wait / line.step)}). More DataLoader workers cannot help: none are "
        "asked.",
        actions=[
            Action(
                "make the next batch while the step runs: put this code into a Dataset behind a DataLoader with "
                "workers, or turn on the prefetching of the loader in use",
                "loader = DataLoader(dataset, batch_size=..., num_workers=2, prefetch_factor=2)",
            )
        ],
        evidence=[
            wait_evidence(case),
            Evidence("no PyTorch loader was asked in these steps", rank=line.rank, process=line.process, lane="main"),
        ],
    )
