"""Phases that only stack samples show: what ran outside of steps and timed calls.

A sample belongs to a phase when one of its frames is known to do only that: a function of torch,
of the standard library or of a trainer, or a function of the user's that is named so and is in no
sample inside a step. It belongs to a step when the program's lines in it, above the model's, are
those of a sample inside a step: the recording's ends cut steps off, and a long call delays the
probe.
"""

import re
from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.stacks.program_frames import file_of_main_module
from perfscope.analyzer.run.stacks.torch_frames import BACKWARD_CALL, MODULE_CALL, OPTIMIZER_CALL
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.intervals import EMPTY, Spans, inside, merged, subtracted
from perfscope.traces.trace import Trace

Function = tuple[str, str]
"""Name and file."""
Path = tuple[tuple[str, int | str], ...]
"""File and line of the program's frames, file and function of a trainer's, outermost first."""

STEPS: Final = "steps"
NOT_RECORDED: Final = "not-recorded"
LONGEST_SAMPLE_NS = 1_000_000_000
"""A sample stands for at most this time before it, unless the one before it shows the same: samples
are at most half a second apart where the probe's thread can run.
"""

BETWEEN_NS: Final = 5_000_000
"""A gap this short between two samples is part of the second: weights are whole milliseconds, or by
the clock of another process.
"""

LIBRARY_FRAMES: Final = {
    "compilation": re.compile(
        r"(^|;)\w+ \(torch/_dynamo/convert_frame\.py:"
        r"|(^|;)_?compile_fx\w* \(torch/_inductor/compile_fx\.py:"
        r"|(^|;)\w+ \(torch/_inductor/(graph|scheduler|codecache|async_compile)\.py:"
    ),
    "checkpoint": re.compile(
        r"(^|;)_?(legacy_)?save \(torch/serialization\.py:"
        r"|(^|;)\w+ \(torch/distributed/checkpoint/"
        r"|(^|;)save_file \(safetensors/"
        r"|(^|;)_?save_(checkpoint|model|optimizer_and_scheduler) \(transformers/trainer\.py:"
        r"|(^|;)_?save_checkpoint \((pytorch_lightning|lightning/pytorch)/"
    ),
    "validation": re.compile(
        r"(^|;)(evaluate|evaluation_loop|prediction_loop) \(transformers/trainer(_seq2seq)?\.py:"
        r"|\((pytorch_lightning|lightning/pytorch)/loops/evaluation_loop\.py:"
    ),
    "logging": re.compile(
        r"(^|;)\w+ \(logging/(__init__|handlers)\.py:"
        r"|(^|;)\w+ \((wandb|mlflow|comet_ml|neptune|tensorboardX|(torch/utils/)?tensorboard)/"
    ),
    "data-setup": re.compile(
        r"(^|;)(__init__|__iter__|_get_iterator|_reset) \(torch/utils/data/dataloader\.py:"
        r"|(^|;)\w+ \((datasets|torchvision/datasets|torchaudio/datasets|webdataset)/"
    ),
    "waiting-for-ranks": re.compile(
        r"(^|;)(monitored_)?barrier \(torch/distributed/distributed_c10d\.py:"
    ),
    "steps": re.compile(
        r"(^|;)__next__ \(torch/utils/data/dataloader\.py:"
        rf"|{BACKWARD_CALL.pattern}|{OPTIMIZER_CALL.pattern}"
        r"|(^|;)\w*step \(torch/amp/"
    ),
}
"""Frames, as the samples name them, by the phase that they show.

Those of steps are calls that the probe did not see begin or end.
"""

IMPORT: Final = re.compile(r" \(<frozen importlib\._bootstrap| \(importlib/__init__\.py:")
"""A frame that imports a module: whatever the module calls then is start-up, unless a compilation
imports it.
"""

USER_FUNCTIONS: Final = {
    "checkpoint": re.compile(r"^_?(save|write)_.*(checkpoint|ckpt|snapshot)s?(_|$)"),
    "validation": re.compile(r"(^|_)(validate|validation|evaluate|evaluation|eval|valid|val)(_|$)"),
    "logging": re.compile(r"(^|_)log(_|$)|(^|_)logging(_|$)"),
    "data-setup": re.compile(
        r"(^|_)(load|prepare|build|make|create|setup|set_up|shuffle|get)_(\w+_)?"
        r"(data|datas?ets?|dataloaders?|loaders?|epoch|samples|shards)$"
    ),
}
"""Names of the user's functions by phase; they count where no sample inside a step has them."""


ENVIRONMENT: Final = re.compile(
    r" \((gymnasium|gym|pettingzoo|dm_control|dm_env|envpool|procgen|brax|torchrl/envs)/"
    r"|(^|;)(\w+\.)*(\w+_)?rollouts? \(|(^|;)(\w+\.)*rollouts?_\w+ \("
)
"""Frames of reinforcement learning that plays in an environment."""
FEWEST_PLAYING: Final = 5


def sampled_phases(
    trace: Trace, process: int, tid: int, known: dict[str, Spans]
) -> dict[str, Spans]:
    """Return the intervals of stack samples by the phase that their frames show.

    `known` are the phases that timed calls show: only samples outside of them are classified.
    """
    stacks = stacks_of_thread(trace, process, tid)
    if stacks is None:
        return {}
    ts = column(stacks, "ts")
    taken = merged(*(spans for phase, spans in known.items() if phase != NOT_RECORDED))
    rest = stacks[~inside(taken, ts)]
    if not len(rest):
        return {}
    in_steps = stacks[inside(known.get(STEPS, EMPTY), ts)]["stack"].astype(str).unique()
    step_functions, step_paths = functions_of(in_steps), {path_of(stack) for stack in in_steps}
    in_model = not len(in_steps)

    def is_in_step(stack: str) -> bool:
        """Return whether a sample is in a step, or in the model where no sample is in a step."""
        return path_of(stack) in step_paths - {()} or (in_model and MODULE_CALL in stack)

    phase_of = {
        stack: phase_of_stack(stack, step_functions) or (STEPS if is_in_step(stack) else "")
        for stack in rest["stack"].astype(str).unique()
    }
    phases = rest["stack"].astype(str).map(phase_of).to_numpy(object)
    end_ns, weight_ns = column(rest, "ts"), column(rest, "weight_ns")
    is_first = np.concatenate(([True], phases[1:] != phases[:-1]))
    most_ns = np.where(is_first, LONGEST_SAMPLE_NS, np.iinfo(np.int64).max)
    begin_ns = end_ns - np.minimum(weight_ns, most_ns)
    begin_ns[1:] = np.where(begin_ns[1:] - end_ns[:-1] < BETWEEN_NS, end_ns[:-1], begin_ns[1:])
    return {
        phase: subtracted(merged((begin_ns[phases == phase], end_ns[phases == phase])), taken)
        for phase in (*LIBRARY_FRAMES, "start-up")
        if (phases == phase).any()
    }


def are_rollouts(trace: Trace, process: int, tid: int, passes: Spans) -> bool:
    """Return whether a model in evaluation mode plays in an environment in these passes.

    Reinforcement learning collects in them what it trains on, which is not validation.
    """
    stacks = stacks_of_thread(trace, process, tid)
    if stacks is None:
        return False
    within = stacks[inside(passes, column(stacks, "ts"))]["stack"].astype(str)
    playing = [
        ENVIRONMENT.search(stack) is not None
        for stack in within
        if phase_of_stack(stack, set()) != "validation"
    ]
    return sum(playing) >= FEWEST_PLAYING and 2 * sum(playing) >= len(playing)


def stacks_of_thread(trace: Trace, process: int, tid: int) -> pd.DataFrame | None:
    """Return the samples of a thread: the probe's, and those from outside before its first one."""
    frames = [rows_of(trace, name, process) for name in ("outside_stacks", "stacks")]
    outside, probed = (
        frame if frame is None or tid < 0 else frame[column(frame, "tid") == tid]
        for frame in frames
    )
    if probed is None or not len(probed):
        return None
    if outside is None:
        return probed
    early = outside[column(outside, "ts") < int(column(probed, "ts")[0])]
    return pd.concat((early, probed), ignore_index=True) if len(early) else probed


def functions_of(stacks: Iterable[str]) -> set[Function]:
    """Return every function that is in one of the stacks."""
    labels = {label for stack in stacks for label in stack.split(";")}
    return {function_of(parse_frame(label)) for label in labels}


def path_of(stack: str) -> Path:
    """Return the program's lines in a stack, and the functions of a trainer that it calls.

    A trainer is the first package below a line of the program, other than torch. The path ends at
    the outermost call of a module: few samples inside steps do not show all lines of a model.
    """
    above, _, _ = stack.partition(MODULE_CALL)
    frames = [parse_frame(label) for label in above.split(";")]
    begun = file_of_main_module(frames)
    path: list[tuple[str, int | str]] = []
    trainer = "torch"
    for frame in frames:
        package, _, below = frame.file.partition("/")
        if frame.is_of_program or frame.file == begun:
            path.append((frame.file, frame.line))
            trainer = ""
        elif below and package != "torch" and trainer in ("", package):
            path.append((frame.file, frame.function))
            trainer = package
    return tuple(path)


def function_of(frame: Frame) -> Function:
    """Return the function of a frame, whatever its line."""
    return frame.function, frame.file


def phase_of_stack(stack: str, step_functions: set[Function]) -> str:
    """Return the phase that a stack shows, the first in order of precedence; "" for none."""
    if IMPORT.search(stack) and not LIBRARY_FRAMES["compilation"].search(stack):
        return "start-up"
    frames = [parse_frame(label) for label in stack.split(";")]
    names = [
        frame.function.rpartition(".")[2]
        for frame in frames
        if frame.is_of_program and function_of(frame) not in step_functions
    ]
    for phase, library in LIBRARY_FRAMES.items():
        user = USER_FUNCTIONS.get(phase)
        if library.search(stack):
            return phase
        if user is not None and any(user.search(name) for name in names):
            return phase
    return ""
