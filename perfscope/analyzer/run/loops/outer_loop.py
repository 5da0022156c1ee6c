"""The outer loop of one process: where its steps begin and end, as int64 arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import EMPTY, Ints, Spans

RAREST_SHARE = 0.1
"""An optimizer called less often than this share of the busiest one is auxiliary (an EMA), not the
outer loop: critics in a GAN commonly run 5 times per generator step, so 0.1 leaves a margin.
"""


@dataclass(frozen=True)
class Batches:
    """The calls of one thread into its PyTorch loaders, sorted by time, ns.

    One row per `next` or iterator start.
    """

    ts: Ints
    end: Ints
    iterator: Ints
    loader: Ints
    start: NDArray[np.bool_]
    """An iterator was built."""
    last: NDArray[np.bool_]
    """The iterator was exhausted and returned no batch."""

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, mask: NDArray[np.bool_]) -> "Batches":
        """Return the rows of `mask`."""
        return Batches(
            self.ts[mask],
            self.end[mask],
            self.iterator[mask],
            self.loader[mask],
            self.start[mask],
            self.last[mask],
        )


@dataclass(frozen=True)
class Loop:
    """Periods of the outer loop, ns: `begin` and `end` of each step.

    `cut` are intervals (evaluations) that do not belong to them.
    """

    begin: Ints
    end: Ints
    cut: Spans = EMPTY


NO_LOOP = Loop(*EMPTY)


def training_iterator_rows(batches: Batches, marks: Ints) -> NDArray[np.bool_]:
    """Return the rows of iterators that feed training.

    A mark (optimizer, scaler or backward) is between two of its rows. An iterator that was asked
    once, or cut off by the end of the recording, is classified by its loader's others, else by
    whether a mark follows it before any other row.
    """
    if not len(batches):
        return np.zeros(0, bool)
    marks_before = np.searchsorted(marks, batches.ts, side="right")
    _, which = np.unique(batches.iterator, return_inverse=True)
    rows = np.bincount(which)
    asked = np.bincount(which, ~batches.start)
    low = np.full(len(rows), np.iinfo(np.int64).max)
    high = np.full(len(rows), -1)
    np.minimum.at(low, which, marks_before)
    np.maximum.at(high, which, marks_before)
    feeds = high > low
    followed = np.append(marks_before[1:] > marks_before[:-1], len(marks) > marks_before[-1])
    unclear = (asked <= 1) | (~feeds & (np.arange(len(rows)) == which[-1]))
    if unclear.any():
        train_loaders = np.unique(batches.loader[feeds[which] & ~unclear[which]])
        clear_loaders = np.unique(batches.loader[~unclear[which]])
        for row in np.flatnonzero(unclear[which]):
            loader = batches.loader[row]
            feeds[which[row]] = (
                loader in train_loaders if loader in clear_loaders else followed[row]
            )
    return np.asarray(feeds[which])


def evaluations(batches: Batches, others: Ints, quiet_until: Ints) -> tuple[Spans, Spans]:
    """Return runs of evaluation batches without `others` (times of training rows) in between.

    Returns the runs and the single batches in them as (starts, ends) in ns. A batch lasts until the
    next row of its run, or until the iterator was exhausted, or, when the loop was left early,
    until the last of `quiet_until` (ends of module calls in evaluation mode) before training
    continues.
    """
    if not len(batches):
        return EMPTY, EMPTY
    group = np.searchsorted(others, batches.ts)
    first = np.concatenate(([True], group[1:] != group[:-1]))
    final = np.concatenate((first[1:], [True]))
    resumes = np.append(others, np.iinfo(np.int64).max)[group]
    is_batch = ~batches.start & ~batches.last
    last_call = np.searchsorted(quiet_until, resumes, side="right") - 1
    evaluated_until = np.zeros(len(batches), np.int64)
    if len(quiet_until):
        evaluated_until = quiet_until[np.maximum(last_call, 0)]
    left_early = np.maximum(evaluated_until, batches.end)
    left = np.where((last_call >= 0) & is_batch, left_early, batches.end)
    until = np.where(final, left, np.append(batches.ts[1:], 0))
    # A batch begins with the start of its iterator and ends with the iterator's end, so that the
    # batches tile the run.
    after_start = np.concatenate(([False], batches.start[:-1])) & ~first
    begin = np.where(after_start, np.concatenate(([0], batches.ts[:-1])), batches.ts)
    before_last = np.append(batches.last[1:], False) & ~final
    until_batch = np.where(before_last, np.append(batches.end[1:], 0), until)
    return (batches.ts[first], until[final]), (begin[is_batch], until_batch[is_batch])


def loop_of_loader(batches: Batches, marks: Ints, evals: Spans, work: Ints) -> Loop:
    """Return one step per outer iteration: it begins at the first loader row after a mark.

    `marks` are the times of progress (an optimizer or scaler step; without any, a batch delivered),
    so accumulation, several optimizers, optimizers inside backward, skipped steps and fetching one
    batch ahead all give one step. `work` are starts of training-mode torch calls: an evaluation
    between a boundary and the first of them belongs before the boundary, so that the step begins
    where the evaluation ends.
    """
    seen = np.searchsorted(marks, batches.ts, side="right")
    boundary = batches.ts[1:][seen[1:] > seen[:-1]] if len(seen) else batches.ts
    return steps_between(boundary, marks, evals, work)


def steps_between(boundary: Ints, marks: Ints, evals: Spans, work: Ints) -> Loop:
    """Return steps from boundary to boundary, without evaluations.

    An evaluation is between two steps, or is cut out where it is inside one.
    """
    if len(boundary) < 2:
        return NO_LOOP
    begin, end = boundary[:-1].copy(), boundary[1:].copy()
    busy = np.sort(np.concatenate((work, marks)))
    inner: list[int] = []
    for row, (start, stop) in enumerate(zip(*evals, strict=True)):
        step = int(np.searchsorted(boundary, start, side="right")) - 1
        if step < 0:
            continue
        until = boundary[step + 1] if step + 1 < len(boundary) else np.iinfo(np.int64).max
        before = np.searchsorted(busy, start) - np.searchsorted(busy, boundary[step])
        later = np.searchsorted(busy, until) - np.searchsorted(busy, start)
        if not before:  # nothing was trained since the boundary: the step begins afterwards
            if step > 0 and end[step - 1] == boundary[step]:
                end[step - 1] = start
            if step < len(begin):
                begin[step] = min(stop, end[step])
        elif step >= len(end):
            continue
        elif not later:  # nothing more is trained before the next boundary
            end[step] = min(end[step], start)
            if step + 1 < len(begin):
                begin[step + 1] = min(stop, end[step + 1])
        else:
            inner.append(row)
    picked = np.asarray(inner, np.int64)
    return Loop(begin, end, (evals[0][picked], evals[1][picked]))


def anchor(ts: Ints, objects: Ints, *, last: bool) -> Ints:
    """Return the times of the object that marks the outer loop: the one called least often.

    Among equals it is the last (or first) in order. A GAN's critic runs several times per generator
    step, so the rarest closes the outer iteration. The order within an iteration comes from the
    longest pause: it is between the last of an iteration and the first of the next. `ts` is sorted,
    ns.
    """
    if not len(ts):
        return ts
    codes, which = np.unique(objects, return_inverse=True)
    calls = np.bincount(which)
    frequent = calls >= max(2.0, RAREST_SHARE * calls.max())
    if not frequent.any():
        return np.asarray(ts[which == which[-1]])
    # Called equally often, give or take the edges of the recording.
    equal = frequent & (calls <= calls[frequent].min() + 1)
    rows = equal[which]
    pauses = np.diff(ts[rows])
    owner = which[rows][:-1] if last else which[rows][1:]
    total = np.bincount(owner, weights=pauses, minlength=len(codes))
    mean = np.where(equal, total / np.maximum(np.bincount(owner, minlength=len(codes)), 1), -1.0)
    return np.asarray(ts[which == int(np.argmax(mean))])


def every_nth(ts: Ints, n: int) -> Ints:
    """Return every n-th instant, the last one kept.

    GradScaler.step with n optimizers runs n times per iteration.
    """
    return ts[(len(ts) - 1) % n :: n] if n > 1 and len(ts) else ts
