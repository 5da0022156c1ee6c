"""Validation takes a large part of the run.

What it means
    Training stops while the validation set is evaluated. Steps per second, measured over the whole
    run, fall by the share of the time that validation takes, however fast a step is.

How it is detected
    The probe sees batches of a loader, or calls of the model in evaluation mode, without an
    optimizer step among them; a single call counts where at most one in four steps has one. Calls
    in training mode count where gradients are off and most of their stack samples are in a function
    that is named like an evaluation. They take at least 5 % of the recorded time. The named line is
    one that training does not run as often. The loss is the time of these passes in the recording.
    The predictions assume that a pass and a training step still take as long as in the recording.
    If it contains the starts of two passes, the predictions are for the time from one start to the
    next.

What to do
    Validate less often, or on a part of the validation set. Where the training process loads the
    validation batches itself and waits for them, give the validation loader workers.

When it is wrong
    A recording that happens to contain a rare pass overstates its share: the number of passes and
    the steps between them are in the evidence. Evaluation that is part of the algorithm (rollouts,
    pseudo-labels) is counted as validation where the model is in evaluation mode.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import critical_rank, severity_of
from perfscope.analyzer.budget.lines.line_samples import is_any, samples_in_phase
from perfscope.analyzer.diagnosis import (
    Action,
    CodeLocation,
    Evidence,
    Finding,
    Prediction,
    Speedup,
)
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural, round_up
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.loops.steps import trainers
from perfscope.analyzer.run.phases.phase_intervals import STEPS, VALIDATION, phase_spans
from perfscope.analyzer.run.phases.validation_passes import (
    ValidationLoading,
    ValidationPasses,
    validation_loading,
    validation_passes,
)
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.traces.frames import Frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

ID = "validation-time"
FEWEST_TO_COMPARE = 5
"""Samples of the probe that are needed in each phase: a line in all five samples of one phase and
in none of the other is one of that phase.
"""
NS_PER_S = 1e9
SHOWN_PASSES = 3
LEAST_WIDTH = 0.08
"""The least half-width of a prediction, as a share: steps and passes of one run differ by that."""
MOST_WIDTH = 0.2

VALIDATE_LESS_OFTEN = Advice(
    "validate-less-often",
    "validate less often, or on a part of the validation set",
    "validation-repeats",
    "The recording contains the starts of at least two validation passes.",
)
VALIDATION_WORKERS = Advice(
    "use-validation-loader-workers",
    "load the validation batches in workers",
    "validation-waits-for-its-own-loading",
    "The validation loader has no workers, at least 20 % of validation is spent loading in the"
    " training process, the loading needs little CPU or a second core is free, and the pass has"
    " enough batches for workers to load ahead.",
)


@dataclass(frozen=True)
class ValidationCase:
    """What is known of the validation of a process."""

    passes: ValidationPasses
    loading: ValidationLoading | None
    usable_cores: float | None
    other_cores: float
    """The cores that other jobs on the machine use."""
    limits: Limits


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why validation cannot be checked: no probe, or no training was recorded."""
    if table(trace, "ranges") is None:
        return Unmet("other", "needs the probe in the process: validation is not seen from outside")
    if trained_process(trace, limits) is None:
        return Unmet("too-short", "no training step was recorded")
    return None


def trained_process(trace: Trace, limits: Limits) -> int | None:
    """Return the critical process, else the first that trains."""
    critical = critical_rank(trace, limits)
    if critical is not None:
        return critical
    return next((process for process, _ in trainers(trace)), None)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where validation takes enough of the recorded time."""
    process = trained_process(trace, limits)
    passes = None if process is None else validation_passes(trace, process)
    if passes is None or passes.share < limits.recoverable_share:
        return None
    load = trace.fact(host_load)
    case = ValidationCase(
        passes=passes,
        loading=validation_loading(trace, passes),
        usable_cores=load.usable_cores,
        other_cores=load.used_elsewhere(),
        limits=limits,
    )
    actions = [*less_often(case), *workers_for_validation(case)]
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(passes.share, limits),
        lost_s=round(passes.validation_ns / NS_PER_S, 4),
        share=round(passes.share, 4),
        speedup=speedup_of(passes, actions),
        headline=f"Validation takes {percent(passes.share)} of the recorded time",
        explanation=explanation(case),
        caveat=caveat(passes),
        evidence=evidence(case),
        actions=actions,
        processes=[passes.process],
        scope="run",
    )


def explanation(case: ValidationCase) -> str:
    """Return the measured seconds, the number of passes, and where their time goes."""
    passes = case.passes
    text = (
        f"{plural(passes.count, 'validation pass')} took {ms(passes.validation_ns)} of the"
        f" {ms(passes.recorded_ns)} recorded."
    )
    if passes.steps_between:
        text += (
            f" A pass starts every {plural(round(passes.steps_between), 'training step')} and takes"
            f" {ms(passes.validation_per_cycle_ns)}."
        )
    if case.loading is not None and is_loading_costly(case):
        share = case.loading.wait_ns / passes.validation_ns
        text += f" {percent(share)} of it is loading batches in the training process."
    return text


def caveat(passes: ValidationPasses) -> str | None:
    """Return what limits the share, None where whole periods were recorded."""
    if passes.cycles:
        return None
    return (
        "The recording does not contain the starts of two passes: how often they run is unknown;"
        " record longer with `--duration`."
    )


def evidence(case: ValidationCase) -> list[Evidence]:
    """Return the share, the longest passes with their instants, and the loading."""
    passes = case.passes
    facts = [
        Evidence(
            f"validation: {ms(passes.validation_ns)} of {ms(passes.recorded_ns)} recorded,"
            f" {plural(passes.count, 'pass')}",
            round(passes.validation_ns / NS_PER_S, 3),
            "s",
            process=passes.process,
            lane="main",
        )
    ]
    starts, ends = passes.passes
    for row in np.argsort(starts - ends, kind="stable")[:SHOWN_PASSES]:
        begin_ns, end_ns = int(starts[row]), int(ends[row])
        facts.append(
            Evidence(
                f"validation pass {int(row) + 1} of {passes.count}: {ms(end_ns - begin_ns)}",
                round((end_ns - begin_ns) / 1e6, 3),
                "ms",
                start_ns=begin_ns,
                end_ns=end_ns,
                process=passes.process,
                lane="main",
            )
        )
    if case.loading is not None:
        facts.append(
            Evidence(
                f"loading validation batches without workers: {ms(case.loading.wait_ns)} for"
                f" {plural(case.loading.batches, 'batch')}",
                round(case.loading.wait_ns / NS_PER_S, 3),
                "s",
                process=passes.process,
                lane="loader",
            )
        )
    return facts


def is_loading_costly(case: ValidationCase) -> bool:
    """Return whether loading in the training process is at least 20 % of validation."""
    if case.loading is None:
        return False
    return case.loading.wait_ns >= case.limits.critical_share * case.passes.validation_ns


def less_often(case: ValidationCase) -> list[Action]:
    """Return the advice to validate so rarely that it takes at most 5 % of the time."""
    passes = case.passes
    if not passes.cycles or not passes.steps_between:
        return []
    training_ns = passes.cycle_ns - passes.validation_per_cycle_ns
    factor = period_factor(
        passes.validation_per_cycle_ns, training_ns, case.limits.recoverable_share
    )
    now = round(passes.steps_between)
    wanted = round_up(now * factor)
    after_ns = training_ns + passes.validation_per_cycle_ns * now / wanted
    evidence = f"{plural(passes.count, 'pass')} recorded, one every {plural(now, 'training step')}"
    given = VALIDATE_LESS_OFTEN.given(
        True,
        evidence,
        text=(
            f"validate every {digits(wanted)} steps instead of every {digits(now)}, or on a part of"
            " the validation set"
        ),
    )
    return [with_prediction(action, passes, after_ns) for action in given]


def period_factor(validation_ns: float, training_ns: float, share: float) -> int:
    """Return by what factor validation must be rarer to take at most `share` of the time."""
    return max(math.ceil(validation_ns * (1.0 - share) / max(share * training_ns, 1.0)), 2)


def workers_for_validation(case: ValidationCase) -> list[Action]:
    """Return the advice to load validation batches in workers, where that can help."""
    loading, passes = case.loading, case.passes
    if loading is None or not is_loading_costly(case):
        return []
    needs_cpu = loading.cpu_share >= case.limits.cpu_dominated
    free = None if case.usable_cores is None else case.usable_cores - case.other_cores - 1.0
    can_run = not needs_cpu or (free is not None and free >= 0.5)
    computing_ns = max(passes.validation_ns - loading.wait_ns, 0)
    most = max(int(free or 1), 1) if needs_cpu else 4 * max(int(case.usable_cores or 1), 1)
    wanted = math.ceil(loading.wait_ns / max(case.limits.headroom * computing_ns, 1.0))
    workers = min(max(wanted, 1), most, case.limits.most_workers)
    receive_ns = case.limits.receive_batch_ns * loading.batches
    # Nothing computes until the first batch of an iteration is there.
    first_ns = loading.iterators * loading.wait_ns / loading.batches
    loaded_ns = max(computing_ns + receive_ns, loading.wait_ns / workers) + first_ns
    if loaded_ns >= (1.0 - case.limits.recoverable_share) * passes.validation_ns:
        return []
    share = loaded_ns / passes.validation_ns
    after_ns = passes.cycle_ns - (1.0 - share) * passes.validation_per_cycle_ns
    given = VALIDATION_WORKERS.given(
        can_run,
        f"num_workers=0; loading is {percent(loading.wait_ns / passes.validation_ns)} of"
        f" validation and needs the CPU for {percent(loading.cpu_share)} of it",
        text=f"load the validation batches in {plural(workers, 'worker')}",
        snippet=(
            f"DataLoader(validation_set, ..., num_workers={workers}, persistent_workers=True)"
        ),
    )
    return [with_prediction(action, passes, after_ns) for action in given]


def with_prediction(action: Action, passes: ValidationPasses, after_ns: float) -> Action:
    """Return the action with the training steps per second over the whole run that it leads to.

    `after_ns` is the time that the steps of a period take then, with their share of validation.
    """
    count = passes.steps_between or float(passes.steps)
    if count <= 0.0 or after_ns <= 0.0:
        return action
    before, likely = count / passes.cycle_ns * NS_PER_S, count / after_ns * NS_PER_S
    width = min(max(LEAST_WIDTH, abs(passes.share - passes.cycle_share)), MOST_WIDTH)
    prediction = Prediction(
        metric="steps_per_s",
        before=round(before, 4),
        low=round(max(likely * (1.0 - width), before), 4),
        likely=round(likely, 4),
        high=round(likely * (1.0 + width), 4),
    )
    return Action(
        text=action.text,
        snippet=action.snippet,
        id=action.id,
        precondition=action.precondition,
        predictions=[prediction],
    )


def speedup_of(passes: ValidationPasses, actions: list[Action]) -> Speedup:
    """Return the speedup that the first action predicts, else that without any validation."""
    if actions and actions[0].predictions:
        predicted = actions[0].predictions[0]
        low, high = predicted.low / predicted.before, predicted.high / predicted.before
        likely = None if predicted.likely is None else predicted.likely / predicted.before
        return Speedup(round(low, 3), None if likely is None else round(likely, 3), round(high, 3))
    rest_ns = max(passes.recorded_ns - passes.validation_ns, 1)
    return Speedup(None, None, round(passes.recorded_ns / rest_ns, 3))


def line_of_validation(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line in which validation calls the model, else the one with most samples.

    A line that training also runs does not belong to validation; the line that calls it does.
    """
    process = finding.processes[0]
    samples = samples_in_phase(trace, process, VALIDATION)
    elsewhere = lines_in_steps(trace, process)
    if elsewhere:
        return replace(samples, elsewhere=elsewhere).hottest_line(is_any)
    return samples.call_of_most(is_any) or samples.hottest_line(is_any)


def lines_in_steps(trace: Trace, process: int) -> dict[Frame, float]:
    """Return, per line, its share of the samples of steps over its share of those of validation.

    The samples are those of the probe, whose times are exact; empty with too few of them.
    """
    stacks = rows_of(trace, "stacks", process)
    if stacks is None:
        return {}
    phases, ts = phase_spans(trace, process), column(stacks, "ts")
    within = [stacks[inside(phases.of(phase), ts)] for phase in (VALIDATION, STEPS)]
    if min(len(rows) for rows in within) < FEWEST_TO_COMPARE:
        return {}
    validation, steps = (shares_of_lines(rows) for rows in within)
    return {line: steps.get(line, 0.0) / share for line, share in validation.items()}


def shares_of_lines(rows: pd.DataFrame) -> dict[Frame, float]:
    """Return the share of the samples that each line of the program has, with its callees."""
    shares: dict[Frame, float] = {}
    for text, count in rows["stack"].astype(str).value_counts().items():
        for frame in set(program_frames(str(text))):
            shares[frame] = shares.get(frame, 0.0) + count / len(rows)
    return shares


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("ranges",),
    in_traces=False,
    where=line_of_validation,
    advice=(VALIDATE_LESS_OFTEN, VALIDATION_WORKERS),
    color="compute-or-host",
)
