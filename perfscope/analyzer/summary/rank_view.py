"""The diagnosis with the steps, the time budget and the code of another rank than that of the
verdict.
"""

import msgspec

from perfscope.analyzer.diagnosis import CodeCost, Diagnosis
from perfscope.analyzer.summary.code_costs import code_costs
from perfscope.analyzer.summary.source_texts import source_texts, with_texts
from perfscope.analyzer.summary.step_summary import step_summary
from perfscope.traces.trace import Trace


def shown_ranks(diagnosis: Diagnosis) -> list[int]:
    """Return the ranks that have a time budget, in their order."""
    return sorted({each.rank for each in diagnosis.per_process if each.rank is not None})


def seen_from_rank(trace: Trace, diagnosis: Diagnosis, rank: int) -> Diagnosis:
    """Return the diagnosis with the steps, their budget and their process of a rank.

    Verdict, findings and rates stay those of the job. The same diagnosis is returned for the rank
    of the verdict, and for one without a time budget.
    """
    found = next((each for each in diagnosis.per_process if each.rank == rank), None)
    if found is None or rank == diagnosis.budget_rank:
        return diagnosis
    return msgspec.structs.replace(
        diagnosis,
        budget_process=found.process,
        time_budget=found.time_budget,
        steps=step_summary(trace, found.process),
    )


def code_of_rank(trace: Trace, diagnosis: Diagnosis, rank: int) -> list[CodeCost]:
    """Return the time of the program's functions and lines in the main thread of a rank; that of
    the verdict's rank for one without a time budget.
    """
    found = next((each for each in diagnosis.per_process if each.rank == rank), None)
    if found is None or rank == diagnosis.budget_rank:
        return diagnosis.by_code
    costs: list[CodeCost] = with_texts(code_costs(trace, found.process), trace.fact(source_texts))
    return costs
