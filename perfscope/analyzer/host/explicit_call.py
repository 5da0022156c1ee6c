"""The program itself calls `gc.collect()`, `empty_cache()` or `synchronize()` in its loop.

What it means
    A full garbage collection visits every object of the process: the more objects there are, the
    longer it takes. Python frees nearly all objects without it, as soon as nothing refers to them.
    `torch.cuda.empty_cache()` gives memory back to the driver, which the next step has to allocate
    again. `torch.cuda.synchronize()` keeps the host from preparing work for the device. Where such
    a call is made to save memory or to measure time, it usually costs more than it gives.

How it is detected
    The probe sees which collections are automatic (more new objects than the threshold), which the
    program asked for, and from which line. The collections of one line take at least 3 % of the
    steady steps, or of the recorded time if it has too few steps. In loader workers, the loss is
    their share of the time to make batches, times the input wait. `empty_cache()` and
    `synchronize()` are found in stack samples of the main thread, at least 20 at one line. They
    cost at most the time in which the device runs nothing; where that is unknown, they are not
    reported. The speedup is a ceiling: memory that is freed less often may have to be freed
    elsewhere.

What to do
    Take the call out of the loop, or make it rarely. If a callback of a library makes the call, it
    usually has an option for that. The finding names the line of the program and the frame that
    makes the call.

When it is wrong
    A program whose objects refer to each other in cycles frees their memory only in collections:
    the number of objects that they freed is in the evidence. Where memory is nearly full, a call
    may prevent an error.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.observed_budget import main_thread_id, main_thread_stacks
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.diagnosis import (
    Action,
    CodeLocation,
    Evidence,
    Finding,
    Interval,
    Speedup,
)
from perfscope.analyzer.host.device_calls_in_loop import DeviceCalls, device_calls
from perfscope.analyzer.host.explicit_collections import (
    ExplicitCollections,
    WorkerCollections,
    explicit_collections,
    worker_collections,
)
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural, round_up
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.ranks.local_ranks import main_processes
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column, longest_row, uses_device
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.analyzer.step_time_models import undisturbed_factor
from perfscope.traces.frames import Frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

ID = "explicit-call"
FEWEST_CALLS = 3
"""With fewer collections in the steady steps they do not belong to the loop."""
RARE_SHARE = 0.01
"""The share of the time that collections may take where they are needed."""
LEAST_REST = 1e-4
"""The least share of the time that remains, so that a speedup is finite."""

REMOVE_COLLECT = Advice(
    "remove-gc-collect",
    "take `gc.collect()` out of the loop: Python frees tensors as soon as nothing refers to them",
    "program-collects",
    "At least three full collections in steady steps were asked for at one line.",
)
COLLECT_RARELY = Advice(
    "collect-rarely",
    "call `gc.collect()` rarely, because it does free objects",
    "collections-free-objects",
    "The collections that the program asked for freed objects.",
)
REMOVE_EMPTY_CACHE = Advice(
    "remove-empty-cache",
    "take `empty_cache()` out of the loop: torch reuses the memory that it keeps",
    "program-empties-cache",
    "At least 20 stack samples in steps are in empty_cache(), called at one line.",
)
REMOVE_SYNCHRONIZE_CALL = Advice(
    "remove-explicit-synchronize",
    "take `synchronize()` out of the loop, and measure time with events",
    "program-synchronizes",
    "At least 20 stack samples in steps are in synchronize(), called at one line.",
)


def not_applicable(trace: Trace, limits: Limits) -> None:
    """Return None: every recording with the probe shows collections."""


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the call that costs most, where one costs enough."""
    process = critical_rank(trace, limits)
    if process is None:
        return without_steps(trace, limits)
    collections = explicit_collections(trace, process, "steps")
    calls = device_calls(trace, process) if uses_device(trace) else None
    in_workers = worker_collections(trace)
    found = [
        None if collections is None else collection_finding(trace, collections, limits),
        None if calls is None else device_call_finding(trace, process, calls, limits),
        None if in_workers is None else worker_finding(trace, process, in_workers, limits),
    ]
    costly = [each for each in found if each is not None and each.share >= limits.worth_share]
    return max(costly, key=lambda each: each.share, default=None)


def without_steps(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding of collections in the recorded time, where it has too few steps."""
    processes = [process for process, _ in main_processes(trace)]
    found = [explicit_collections(trace, process, "run") for process in processes]
    costly = [each for each in found if each is not None and each.share >= limits.worth_share]
    if not costly:
        return None
    return collection_finding(trace, max(costly, key=lambda each: each.share), limits)


def collection_finding(trace: Trace, found: ExplicitCollections, limits: Limits) -> Finding | None:
    """Return the finding of explicit collections, None where they are too few."""
    if found.count < FEWEST_CALLS:
        return None
    share, place = percent(found.share), str(found.path[-1])
    rate = rate_text(found.steps_between, "step")
    if found.scope == "run":
        rate = f"every {ms(recorded_ns(found) / found.count)}"
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(found.share, limits),
        processes=[found.process],
        lost_s=round(found.lost_ns / 1e9, 4),
        share=round(found.share, 4),
        speedup=without_collections(trace, found, limits),
        headline=f"Explicit call: `gc.collect()` in the loop takes {share} of the time",
        explanation=(
            f"{place} calls it {rate}; a full collection takes {ms(found.mean_ns)}, visits every"
            f" object of the process, and frees {digits(round(found.freed / found.count))} of them."
        ),
        evidence=collection_evidence(found),
        actions=collection_changes(found),
        scope=found.scope,
        where=location(found.path[0], found.process, line_share(trace, found)),
    )


def without_collections(trace: Trace, found: ExplicitCollections, limits: Limits) -> Speedup:
    """Return the largest speedup without the collections; on a CPU they also evict the caches."""
    on_device = uses_device(trace)
    quiet = undisturbed_factor(found.share, limits.most_kept_core_saving, on_device=on_device)
    return Speedup(None, None, round(1.0 / max((1.0 - found.share) * quiet, LEAST_REST), 3))


def line_share(trace: Trace, found: ExplicitCollections) -> Interval:
    """Return the share of the line by stack samples in steps; with too few of them, as timed."""
    tid = main_thread_id(trace, found.process)
    stacks = main_thread_stacks(trace, found.process, tid, "outside_stacks")
    if len(stacks):
        stacks = stacks[inside(spans_of(found.steps), column(stacks, "ts"))]
    if len(stacks) < FEWEST_SAMPLES:
        return Interval(found.share, found.share, found.share)
    lines = [program_frames(text)[-1:] for text in stacks["stack"].astype(str)]
    share = lines.count((found.path[0],)) / len(lines)
    low, high = share_interval(share, len(lines))
    return Interval(low, share, high)


def collection_evidence(found: ExplicitCollections) -> list[Evidence]:
    """Return the longest collection, what they take per step, and what automatic ones take."""
    worst = longest_row(found.rows)
    begin_ns, dur_ns = int(worst["ts"]), int(worst["dur"])
    steps = len(found.steps)
    unit = "per step" if found.scope == "steps" else f"of {ms(recorded_ns(found))} recorded"
    in_unit = "ms/step" if found.scope == "steps" else "ms"
    asked_for_ns, automatic_ns = found.lost_ns / steps, found.automatic_ns / steps
    counted = f"{plural(found.count, 'explicit collection')} in {scope_text(found)}"
    return [
        Evidence(
            f"longest collection: {ms(dur_ns)}, {max(int(worst['value']), 0)} objects freed",
            round(dur_ns / 1e6, 3),
            "ms",
            start_ns=begin_ns,
            end_ns=begin_ns + dur_ns,
            process=found.process,
            lane="main",
        ),
        Evidence(
            f"{counted}: {ms(asked_for_ns)} {unit}",
            round(asked_for_ns / 1e6, 3),
            in_unit,
            process=found.process,
        ),
        Evidence(
            f"automatic collections: {ms(automatic_ns)} {unit}",
            round(automatic_ns / 1e6, 3),
            in_unit,
            process=found.process,
        ),
    ]


def recorded_ns(found: ExplicitCollections) -> int:
    """Return the time that the collections are a share of."""
    return int(column(found.steps, "dur").sum())


def scope_text(found: ExplicitCollections) -> str:
    """Return the number of steps, or the recorded time."""
    if found.scope == "steps":
        return plural(len(found.steps), "step")
    return ms(recorded_ns(found))


def collection_changes(found: ExplicitCollections) -> list[Action]:
    """Return the advice to remove the call, or to make it rarely where it frees objects."""
    caller = found.path[-1]
    collected = (
        f"{plural(found.count, 'full collection')} in {scope_text(found)}, asked for by {caller}"
    )
    text = REMOVE_COLLECT.text
    if not caller.is_of_program:
        text += f" ({caller.function} in {caller.file} makes the call)"
    rest_ns = max((recorded_ns(found) - found.lost_ns) / len(found.steps), 1.0)
    every = round_up(found.mean_ns * (1.0 - RARE_SHARE) / (RARE_SHARE * rest_ns))
    is_rarer = found.scope == "steps" and every > found.steps_between
    return [
        *REMOVE_COLLECT.given(found.count >= FEWEST_CALLS, collected, text=text),
        *COLLECT_RARELY.given(
            found.freed > 0 and is_rarer,
            f"they freed {digits(found.freed)} objects",
            text=f"call `gc.collect()` every {digits(every)} steps, because it does free objects",
        ),
    ]


def worker_finding(
    trace: Trace, process: int, found: WorkerCollections, limits: Limits
) -> Finding | None:
    """Return the finding of collections in loader workers that training waits for, if any."""
    steps, count = steps_of(trace, process), len(found.rows)
    if count < FEWEST_CALLS:
        return None
    step_ns = max(float(column(steps, "dur").sum()), 1.0)
    lost = found.fetch_share * float(column(steps, INPUT_WAIT).sum()) / step_ns
    rate, spent = rate_text(found.fetches / count, "batch"), percent(found.fetch_share)
    low, high = share_interval(found.fetch_share, max(found.fetches, 1))
    asked = f"{plural(count, 'full collection')} in workers asked for by {found.path[-1]}"
    worst = longest_row(found.rows)
    begin_ns, dur_ns = int(worst["ts"]), int(worst["dur"])
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(lost, limits),
        processes=[process],
        lost_s=round(lost * step_ns / 1e9, 4),
        share=round(lost, 4),
        speedup=ceiling(lost),
        headline=(
            f"Explicit call: `gc.collect()` in the loader's workers costs {percent(lost)} of the"
            " time"
        ),
        explanation=(
            f"{found.path[-1]} calls it {rate}, which is {spent} of the time in which the workers"
            " make batches. Training waits for them."
        ),
        evidence=[
            Evidence(asked, float(count), "collections", process=found.process),
            Evidence(
                f"longest collection: {ms(dur_ns)}",
                round(dur_ns / 1e6, 3),
                "ms",
                start_ns=begin_ns,
                end_ns=begin_ns + dur_ns,
                process=found.process,
                lane="main",
            ),
        ],
        actions=REMOVE_COLLECT.given(
            count >= FEWEST_CALLS,
            asked,
            text="take `gc.collect()` out of the code that makes batches",
        ),
        where=location(found.path[0], found.process, Interval(low, found.fetch_share, high)),
    )


def device_call_finding(trace: Trace, process: int, found: DeviceCalls, limits: Limits) -> Finding:
    """Return the finding of a call for the device: at most the time in which the device is idle."""
    steps = steps_of(trace, process)
    lost_s = found.cost_share * float(column(steps, "dur").sum()) / 1e9
    cost, spent = percent(found.cost_share), percent(found.share)
    samples = f"{plural(found.samples, 'sample')} in {found.name}() called by {found.path[-1]}"
    advice = REMOVE_EMPTY_CACHE if found.name == "empty_cache" else REMOVE_SYNCHRONIZE_CALL
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(found.cost_share, limits),
        processes=[process],
        lost_s=round(lost_s, 4),
        share=round(found.cost_share, 4),
        speedup=ceiling(found.cost_share),
        headline=f"Explicit call: `{found.name}()` in the loop costs up to {cost} of the time",
        explanation=(
            f"The main thread is in it for {spent} of the steps, and the device runs nothing for"
            f" {percent(found.idle_share)} of them."
        ),
        caveat="The device works during a part of the call: the cost is a ceiling.",
        evidence=[
            Evidence(samples, round(found.share, 4), "share", process=process, lane="main"),
            Evidence("time without a kernel on the device", round(found.idle_share, 4), "share"),
        ],
        actions=advice.given(True, samples),
        where=location(found.path[0], process, Interval(found.low, found.share, found.high)),
    )


def location(frame: Frame, process: int, share: Interval) -> CodeLocation | None:
    """Return the line of the program, None where only a package's line is known."""
    if not frame.is_of_program:
        return None
    file = frame.file.removeprefix("./")
    return CodeLocation(frame.function, file, frame.line, None, process, share)


def rate_text(between: float, unit: str) -> str:
    """Return how often a call is made: `once per step`, `every 10 steps`, `3 times per step`."""
    if between > 1.1:
        return f"every {plural(between, unit)}"
    if between > 0.9:
        return f"once per {unit}"
    return f"{digits(1.0 / between)} times per {unit}"


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("ranges",),
    in_traces=False,
    consequences=(
        "gc-pause",
        "launch-bound",
        "idle-device",
        "gil-contention",
        "input-bound",
        "compute-bound",
        "memory-bound",
    ),
    advice=(REMOVE_COLLECT, COLLECT_RARELY, REMOVE_EMPTY_CACHE, REMOVE_SYNCHRONIZE_CALL),
    color="host-bound",
)
