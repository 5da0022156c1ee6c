"""The sampler, which chooses the order of the samples, takes most of the time in the loader.

How it is detected
    At least half of the loop's stack samples in its loader are in the sampler: the training process
    draws the indices itself, even if the loader has workers.

When it is wrong
    The prediction assumes that the work of the sampler disappears: it is a ceiling.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.loader_case import LoaderCase, PredictedFix, wait_evidence
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.run.stacks.sample_shares import largest_share
from perfscope.analyzer.step_time_models import After

CAUSE = "sampler-bound"

DRAW_RARELY = Advice(
    "draw-indices-of-several-passes",
    "draw the indices for several passes at once: a larger `num_samples`, which lengthens the pass",
    "sampler-works-at-each-pass",
    "At least half of the time in the loader is in the sampler, mostly at the start of a pass.",
)
DRAW_CHEAPLY = Advice(
    "draw-indices-with-less-work",
    "draw the indices with less work: with replacement where that is acceptable, and with array"
    " operations instead of Python loops or lists of all indices",
    "sampler-takes-loader-time",
    "At least half of the loop's stack samples in its loader are in the sampler.",
)
ADVICE = (DRAW_RARELY, DRAW_CHEAPLY)


def applies(case: LoaderCase) -> bool:
    """Return whether the sampler takes at least half of the time in the loader."""
    share = case.sampler.share if case.sampler is not None else 0.0
    return share >= case.limits.main_cause_share


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the ceiling: the step without the sampler's time."""
    sampler, pipeline = case.sampler, case.pipeline
    assert sampler is not None
    taken = sampler.share * pipeline.loader_wait
    most = largest_share(sampler.share, sampler.samples) * pipeline.loader_wait
    passes = at_each_pass(case)
    when = ""
    if passes:
        per_pass = taken * pipeline.steps / pipeline.restarts
        when = f" It works {ms(per_pass)} at the start of each pass."
    return PredictedFix(
        after=After(pipeline.step, max(pipeline.step - taken, 1.0), max(pipeline.step - most, 1.0)),
        text=(
            f"The sampler takes {ms(taken)} of each {ms(pipeline.step)} step:"
            f" {percent(sampler.share)} of the time in the loader.{when}"
        ),
        caveat="Loader workers would not help: the training process draws the indices itself.",
        actions=sampler_actions(case, passes=passes),
        evidence=[
            wait_evidence(case),
            Evidence(
                f"{plural(sampler.samples, 'stack sample')} in the loader,"
                f" {percent(sampler.share)} of them in the sampler",
                round(sampler.share, 4),
                "share",
                process=pipeline.process,
                lane="stacks",
            ),
        ],
        is_ceiling=True,
        where=sampler.line,
    )


def at_each_pass(case: LoaderCase) -> bool:
    """Return whether most of the wait is for new iterators and their first batches."""
    pipeline = case.pipeline
    if pipeline.restarts <= 1:
        return False
    return pipeline.restart >= case.limits.main_cause_share * pipeline.input_wait


def sampler_actions(case: LoaderCase, *, passes: bool) -> list[Action]:
    """Return the advice to draw indices more rarely, or with less work."""
    sampler = case.sampler
    share = sampler.share if sampler is not None else 0.0
    evidence = f"{percent(share)} of the stack samples in the loader are in the sampler"
    return [
        *DRAW_CHEAPLY.given(applies(case), evidence),
        *DRAW_RARELY.given(
            applies(case) and passes,
            f"{evidence}; {plural(case.pipeline.restarts, 'pass')} in"
            f" {plural(case.pipeline.steps, 'step')}",
        ),
    ]
