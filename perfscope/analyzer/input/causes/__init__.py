"""The causes of `input-bound`, most specific first: the first that applies is the cause."""

from types import ModuleType

from perfscope.analyzer.input.causes import (
    collate_bound,
    cpu_bound_fetch,
    decode_bound,
    fewer_shards_than_workers,
    in_process_loading,
    per_sample_overhead,
    rare_slow_sample,
    sampler_bound,
    shared_lock,
    slow_first_batch,
    slow_worker_start,
    storage_bound,
    too_few_workers,
    transfer_bound,
    uneven_workers,
    unknown_loader,
    worker_restart,
)

CAUSES: tuple[ModuleType, ...] = (
    unknown_loader,
    sampler_bound,
    slow_first_batch,
    slow_worker_start,
    worker_restart,
    fewer_shards_than_workers,
    uneven_workers,
    rare_slow_sample,
    shared_lock,
    per_sample_overhead,
    in_process_loading,
    transfer_bound,
    storage_bound,
    collate_bound,
    decode_bound,
    cpu_bound_fetch,
    too_few_workers,
)
