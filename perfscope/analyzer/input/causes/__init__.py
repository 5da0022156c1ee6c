"""The causes of `input-bound`, most specific first: the first that applies is the cause."""

from types import ModuleType

from perfscope.analyzer.input.causes import (
    collate_bound,
    decode_bound,
    in_process_loading,
    storage_bound,
    too_few_workers,
    transfer_bound,
    unknown_loader,
    worker_restart,
)

CAUSES: tuple[ModuleType, ...] = (
    unknown_loader,
    worker_restart,
    in_process_loading,
    transfer_bound,
    storage_bound,
    collate_bound,
    decode_bound,
    too_few_workers,
)
