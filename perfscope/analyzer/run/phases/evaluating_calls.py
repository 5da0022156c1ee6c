"""Calls of a model that evaluate it although it is in training mode.

Without gradients they are an evaluation or the making of data, which names of functions tell apart.
"""

import re
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column
from perfscope.traces.frames import parse_frame
from perfscope.traces.intervals import Ints, inside, merged

EVALUATION: Final = 0
WITHOUT_GRADIENTS: Final = 2
"""Values of a forward pass in table `ranges`."""
NAMED_SHARE: Final = 0.5
"""The least share of the samples in such calls that is in a function with one of these names."""
EVALUATES: Final = re.compile(
    r"(^|_)(validat\w*|evaluat\w*|eval|valid|val|test\w*|accuracy|scores?|metrics?)(_|$)"
)
"""Names of functions that evaluate a model."""
MAKES_DATA: Final = re.compile(
    r"(^|_)(env|envs|environments?|rollouts?|collect|episodes?|simulat\w*|act|play|self_play"
    r"|explore|interact)(_|$)"
)
"""Names of functions that make the data of the next steps: they are not an addition to them."""


def flags_of_calls(forward: pd.DataFrame | None, stacks: pd.DataFrame | None) -> Ints:
    """Return the training flag of each call of a module, EVALUATION for those that evaluate.

    `stacks` are samples of the same thread.
    """
    flags = column(forward, "value")
    quiet = flags == WITHOUT_GRADIENTS
    if forward is None or stacks is None or not quiet.any():
        return flags
    ts = column(forward, "ts")[quiet]
    calls = merged((ts, ts + column(forward, "dur")[quiet]))
    sampled = stacks[inside(calls, column(stacks, "ts"))]["stack"].astype(str)
    if len(sampled) < FEWEST_SAMPLES:
        return flags
    named = sampled.map({stack: is_named_evaluation(stack) for stack in sampled.unique()})
    if float(named.mean()) < NAMED_SHARE:
        return flags
    return np.where(quiet, EVALUATION, flags).astype(np.int64)


def is_named_evaluation(stack: str) -> bool:
    """Return whether a function of the program in a stack is named like an evaluation.

    None of them may be named like one that makes data.
    """
    frames = [parse_frame(label) for label in stack.split(";")]
    names = [frame.function.rpartition(".")[2] for frame in frames if frame.is_of_program]
    makes_data = any(MAKES_DATA.search(name) for name in names)
    return not makes_data and any(EVALUATES.search(name) for name in names)
