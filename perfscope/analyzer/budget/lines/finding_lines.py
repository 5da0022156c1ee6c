"""Ready-made answers to `Rule.where`: the line with most samples of one kind."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from perfscope.analyzer.budget.lines.line_samples import (
    samples_in_phase,
    samples_of_run,
    worker_samples,
)
from perfscope.analyzer.budget.loop.loop_samples import (
    IN_TORCH_CALL,
    device_wait_spans,
    loop_samples,
)
from perfscope.analyzer.budget.observed_budget import FETCH_FILE, LOADER_FILE, SAVERS
from perfscope.analyzer.diagnosis import CodeLocation, Finding
from perfscope.analyzer.run.phases.phase_intervals import STEPS
from perfscope.analyzer.run.phases.sampled_phases import LIBRARY_FRAMES
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace


def line_in_loop(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line of the loop that neither loads data nor writes checkpoints."""
    return hottest_line_of(trace, finding, is_in_loop)


def line_in_loader(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line that is in torch's data loader."""
    return hottest_line_of(trace, finding, is_in_loader)


def line_in_fetch(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line in which loader workers make batches."""
    return worker_samples(trace, finding.processes[0]).hottest_line(is_in_fetch)


def line_in_checkpoint(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line that writes checkpoints."""
    return hottest_line_of(trace, finding, is_in_checkpoint)


def line_in_compilation(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line whose call is compiled."""
    return hottest_line_of(trace, finding, is_in_compilation)


def line_outside_torch_calls(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line of the loop outside of the model, backward and the optimizer."""
    return hottest_line_of(trace, finding, is_outside_torch_calls)


def line_waiting_for_device(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line of the loop that calls what waits for the device, by the timed calls."""
    process = finding.processes[0]
    loop = trace.fact(loop_samples).get(process)
    if loop is None:
        return None
    samples = samples_in_phase(trace, process, STEPS)
    waits = inside(device_wait_spans(trace, process, loop.tid), column(samples.rows, "ts"))
    stacks = np.where(waits, samples.rows["stack"].astype(str).to_numpy(object), "")
    waiting = replace(samples, rows=samples.rows.assign(stack=stacks))
    return waiting.hottest_line(bool)


def hottest_line_of(
    trace: Trace, finding: Finding, is_of_finding: Callable[[str], bool]
) -> CodeLocation | None:
    """Return the line of the main thread with most samples of a kind, in the finding's scope."""
    process = finding.processes[0]
    if finding.scope == "run":
        return samples_of_run(trace, process).hottest_line(is_of_finding)
    return samples_in_phase(trace, process, STEPS).hottest_line(is_of_finding)


def is_in_fetch(stack: str) -> bool:
    """Return whether a worker makes a batch."""
    return FETCH_FILE in stack


def is_in_loader(stack: str) -> bool:
    """Return whether the thread is in torch's data loader."""
    return LOADER_FILE in stack


def is_in_checkpoint(stack: str) -> bool:
    """Return whether the thread writes a checkpoint."""
    return SAVERS.search(stack) is not None


def is_in_compilation(stack: str) -> bool:
    """Return whether the thread compiles something, for a call of compiled code."""
    return LIBRARY_FRAMES["compilation"].search(stack) is not None


def is_in_loop(stack: str) -> bool:
    """Return whether the thread neither loads data nor writes a checkpoint."""
    return not is_in_loader(stack) and not is_in_checkpoint(stack)


def is_outside_torch_calls(stack: str) -> bool:
    """Return whether the thread is outside of torch's calls, the loader and checkpoints."""
    return is_in_loop(stack) and IN_TORCH_CALL.search(stack) is None
