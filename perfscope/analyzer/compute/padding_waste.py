"""Batches are padded to more columns than their longest row needs, and the model computes on them.

What it means
    Sentences have different lengths and become one tensor by padding. Padding all of them to a
    fixed length (`padding="max_length"`, a `max_length` far above the usual one) adds columns that
    no row of the batch uses. Embeddings, linear layers and attention compute on them, and the
    result is thrown away.

How it is detected
    On a CPU. At most once per second the probe counts the padding of the batch that the loader
    returned and of the one that the model was called with: the run of one value at the same end of
    its rows, in the largest tensor of token ids; what an `attention_mask` includes counts as used.
    At least five batches have one width, rows of different lengths, and columns that no row uses.
    The operators of a profiling window whose shapes have that width show how much work they take
    (attention takes the square). It must be at least 10 % of the steps, and the loop must not wait
    for input.

What to do
    Pad each batch to its longest row: `padding=True` or `"longest"` in the tokenizer, in the
    collate function (`DataCollatorWithPadding`, `pad_sequence`) and not per sample. Batches of rows
    with similar lengths avoid the remaining padding (`group_by_length`, a bucketing sampler).

When it is wrong
    A model that needs a fixed width (a linear layer over all positions, an export for a device with
    static shapes) cannot use shorter batches. Columns that hold a token of their own at the end of
    every row, such as a fixed prompt, are not padding although they look like it. The speedup is a
    ceiling.
"""

import re
from typing import Final

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    missing_steps,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.lines.finding_lines import line_in_loop
from perfscope.analyzer.budget.lines.line_samples import samples_in_phase, worker_samples
from perfscope.analyzer.categories import DEVICE_COMPUTE, INPUT_WAIT
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.compute.padded_batches import (
    LOADER,
    PaddedWork,
    Padding,
    batch_padding,
    padded_work,
)
from perfscope.analyzer.compute.work_units import runs_on_cpu
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.phases.phase_intervals import STEPS
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

ID = "padding-waste"
MAKES_BATCHES: Final = re.compile(r"pad|collat|tokeni|make_batch|to_batch", re.IGNORECASE)
"""In the names of functions that make batches."""
LEAST_SAVING: Final = 0.1
"""The recording of a window changes the proportions of operators by less than this."""
MUCH_PADDING: Final = 0.3
"""Batches of random sentences that are padded to their longest row have a third of padding and
more; with less, grouping them by length gains little.
"""

PAD_TO_LONGEST = Advice(
    "pad-to-longest-row",
    "pad each batch to its longest row, not to a fixed width",
    "columns-that-no-row-uses",
    "At least five batches have columns of padding that no row uses, and the model computes on"
    " them.",
)
GROUP_BY_LENGTH = Advice(
    "group-rows-by-length",
    "draw batches of rows with similar lengths",
    "rows-of-different-lengths",
    "Of the columns that are used, 30 % of the values or more are padding.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no steps, or operators that do not run on the CPU."""
    if not runs_on_cpu(trace):
        return Unmet("no-kernels", "needs operators on the CPU, in a profiling window")
    process = critical_rank(trace, limits)
    if process is not None and not compiled_code(trace, process).is_eager:
        return Unmet("other", "compiled code: another width would be compiled again")
    return missing_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where columns of padding cost enough of the steps."""
    process = critical_rank(trace, limits)
    padding = None if process is None else batch_padding(trace, process)
    if process is None or padding is None:
        return None
    work = padded_work(trace, process, padding)
    rows = steps_of(trace, process)
    steps_ns = max(float(column(rows, "dur").sum()), 1.0)
    computes = float(rows[DEVICE_COMPUTE].sum()) / steps_ns
    if work is None or float(rows[INPUT_WAIT].sum()) / steps_ns >= limits.recoverable_share:
        return None
    lost = computes * work.saved
    if lost < LEAST_SAVING:
        return None
    longest = f"{padding.longest:.0f} of {padding.width}"
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(lost, limits),
        processes=[process],
        lost_s=round(lost * steps_ns / 1e9, 4),
        share=round(lost, 4),
        speedup=ceiling_without_padding(work, computes, limits),
        headline=(
            f"Padding: batches have {padding.width} columns, their longest rows use"
            f" {padding.longest:.0f}"
        ),
        explanation=(
            f"{percent(padding.unused)} of the columns hold only padding, and {percent(lost)} of"
            f" each step computes on them."
        ),
        caveat="A model that needs a fixed width cannot use shorter batches.",
        evidence=padding_evidence(padding, work, process, longest),
        actions=shorter_batches(padding, longest),
    )


def ceiling_without_padding(work: PaddedWork, computes: float, limits: Limits) -> Speedup:
    """Return the ceiling: all time shrinks like the work on columns, except work that does not.

    What is left of that work has the caches for itself.
    """
    stays = (1.0 - work.saved / work.scales) * (1.0 - limits.most_free_cache_saving)
    left = 1.0 - (1.0 - computes * work.kept) * (1.0 - stays)
    return Speedup(None, None, round(1.0 / max(left, 0.01), 3))


def padding_evidence(
    padding: Padding, work: PaddedWork, process: int, longest: str
) -> list[Evidence]:
    """Return what was counted in the batches, and which work depends on their width."""
    source = "returned by the loader" if padding.source == LOADER else "passed to the model"
    checked = ", as the attention mask says too" if padding.masked else ""
    return [
        Evidence(
            f"{padding.batches} batches {source}, {padding.rows} rows each: the longest row uses"
            f" {longest} columns on average, padding is at the {padding.side}{checked}",
            round(padding.unused, 4),
            "share",
            process=process,
        ),
        Evidence(
            f"{percent(padding.padded)} of all values are padding",
            round(padding.padded, 4),
            "share",
            process=process,
        ),
        Evidence(
            f"{percent(work.scales)} of the work has the width of the batches in its shapes",
            round(work.scales, 4),
            "share",
            process=process,
            lane="host",
        ),
    ]


def shorter_batches(padding: Padding, longest: str) -> list[Action]:
    """Return the changes that avoid padding."""
    left = padding.left_after_trimming
    return [
        *PAD_TO_LONGEST.given(
            padding.unused > 0.0,
            f"the longest rows of {padding.batches} batches use {longest} columns",
            snippet='tokenizer(texts, padding="longest")  # per batch, in the collate function',
        ),
        *GROUP_BY_LENGTH.given(
            left >= MUCH_PADDING,
            f"{percent(left)} of the values would still be padding",
        ),
    ]


def line_of_padding(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line of the function that pads or collates, in the loop or in workers, else that
    of the loop.
    """
    process = finding.processes[0]
    return (
        samples_in_phase(trace, process, STEPS).hottest_line(is_making_batches)
        or worker_samples(trace, process).hottest_line(is_making_batches)
        or line_in_loop(trace, finding)
    )


def is_making_batches(stack: str) -> bool:
    """Return whether the program's innermost function has the name of one that makes batches."""
    frames = program_frames(stack)
    return bool(frames) and MAKES_BATCHES.search(frames[-1].function) is not None


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("padding", "ops"),
    in_traces=False,
    where=line_of_padding,
    advice=(PAD_TO_LONGEST, GROUP_BY_LENGTH),
    color="device-compute",
)
