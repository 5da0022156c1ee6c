"""Batches in any order: `in_order=False` of torch's loader, and the torch that has it."""

import re

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.input.loader_case import LoaderCase

FREE_ORDER_SINCE = (2, 7)
"""torch from which on `in_order=False` gives each worker new indices when it delivers."""

FREE_ORDER = Advice(
    "take-batches-as-they-are-ready",
    "take batches as they are ready: a slow one then delays no other, and their order differs from"
    " run to run",
    "slow-fetch-delays-ready-batches",
    "The turn of a slow worker or of a rare slow batch delays batches of other workers, and torch"
    " is 2.7 or newer.",
)


def batch_order_can_be_free(case: LoaderCase) -> bool:
    """Return whether the program's torch has `in_order`, and several workers to make use of it."""
    version = re.match(r"(\d+)\.(\d+)", case.torch_version)
    if version is None or case.pipeline.workers < 2:
        return False
    return (int(version[1]), int(version[2])) >= FREE_ORDER_SINCE


def free_the_order(case: LoaderCase, *, holds: bool, evidence: str) -> list[Action]:
    """Return the action to take batches as they are ready, where the program's torch can do so."""
    return FREE_ORDER.given(
        holds and batch_order_can_be_free(case),
        f"{evidence}; torch {case.torch_version}",
        snippet="DataLoader(..., in_order=False)",
    )
