"""Frames of torch in stack samples that show which part of a step the thread is in."""

import re
from typing import Final

MODULE_CALL: Final = ";_wrapped_call_impl (torch/nn/modules/module.py"
"""The outermost call of a module, within a stack."""
LOADER_CALL: Final = re.compile(r"(^|;)(__next__|__iter__) \(torch/utils/data/dataloader\.py:")
BACKWARD_CALL: Final = re.compile(r"(^|;)backward \(torch/(_tensor|autograd/__init__)\.py:")
OPTIMIZER_CALL: Final = re.compile(r"(^|;)\w*step \(torch/optim/")
