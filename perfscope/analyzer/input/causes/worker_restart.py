"""The waits cluster where an iterator is built: workers are started again every epoch, and the
first batches come late.
"""

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.loader_case import Case, Remedy, wait_evidence
from perfscope.analyzer.number_text import digits, ms

CAUSE = "worker-restart"


def applies(case: Case) -> bool:
    """At least half of all waiting is for new iterators and their first batch, more than once."""
    line = case.pipeline
    return (
        line.workers > 0
        and line.restarts > 1
        and line.restart >= case.limits.explains * line.input_wait
    )


def remedy(case: Case) -> Remedy:
    """Without restarts each step is shorter by their share; pessimistically a tenth of it stays:
    each epoch prefetches anew.

    What workers compute goes into starting (mostly they keep up in between), so the floor counts
    the training process alone.
    """
    line = case.pipeline
    each = line.restart * line.steps / line.restarts
    saved = max(case.machine.cpu - line.main_cpu, 0.0) if case.machine.cpu is not None else 0.0
    after = max(line.step - line.restart, case.machine.floor(saved))
    slow = min(after + 0.1 * line.restart, line.step)
    return Remedy(
        after=After(slow, after, after),
        text=(
            f"The workers are restarted every {digits(line.steps / line.restarts)} steps, and"
            f" training waits {ms(each)} for the first batch each time."
        ),
        caveat=_between(case),
        actions=[
            Action(
                "keep the workers alive between epochs", "DataLoader(..., persistent_workers=True)"
            ),
            Action(
                "or make short epochs longer: an infinite sampler starts the workers once",
                "RandomSampler(dataset, replacement=True, num_samples=many_epochs * len(dataset))",
            ),
        ],
        evidence=[
            wait_evidence(case),
            Evidence(
                text=f"{line.restarts} iterator starts in {line.steps} steps, {ms(each)} each",
                value=round(each / 1e6, 3),
                unit="ms/start",
                rank=line.rank,
                process=line.process,
                lane="loader",
            ),
        ],
    )


def _between(case: Case) -> str:
    line = case.pipeline
    rest = max(line.input_wait - line.restart, 0.0)
    if rest >= case.limits.input_share * line.step:
        return (
            f"Between restarts it also waits {ms(rest)} per step: fix this first, then profile"
            " again."
        )
    return "More workers would make each start longer; between restarts batches are ready in time."
