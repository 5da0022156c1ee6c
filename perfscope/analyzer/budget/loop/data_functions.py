"""Functions that provide data: the loop's own code that loads batches, without PyTorch's loader."""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.loop.loop_samples import LoopSamples, SampledCode
from perfscope.traces.frames import Frame

DATA_LIBRARIES: Final = re.compile(
    r"^(nvidia/dali|ffcv|webdataset|datasets|tensorflow_datasets|litdata|streaming|torchdata"
    r"|petastorm|ray/data|squirrel|deeplake)/"
)
"""Packages that provide data."""
WAITS_FOR_DATA: Final = re.compile(r"^(queue|multiprocessing/(queues|pool)|concurrent/)")
"""Queues of batches, and pools that make them. A `Connection` alone is a question to another
process, and its answer.
"""
LOADS_DATA: Final = re.compile(
    r"(^|_)(load\w*|read\w*|(pre)?fetch\w*|decod\w*|augment\w*|collat\w*|preprocess\w*"
    r"|next_?batch|get_?batch|(batch|data|image)e?s?)(_|$)|^__getitem__$|^__next__$"
)
"""Names of functions that provide data."""


def loads_data(samples: LoopSamples, wanted: NDArray[np.bool_]) -> bool:
    """Return whether most of the wanted code provides data, or waits for it."""
    provides = np.array([provides_data(code) for code in samples.codes], bool) & wanted
    return samples.weight_of(provides) >= 0.5 * samples.weight_of(wanted) > 0.0


def is_data_function(frame: Frame) -> bool:
    """Return whether a function is named like one that provides data."""
    return LOADS_DATA.search(frame.function.rpartition(".")[2]) is not None


def provides_data(code: SampledCode) -> bool:
    """Return whether one of the functions in a stack provides data, or waits for it."""
    return any(is_data_function(frame) for frame in code.program[1:]) or any(
        DATA_LIBRARIES.search(frame.file) or WAITS_FOR_DATA.search(frame.file)
        for frame in code.below
    )
