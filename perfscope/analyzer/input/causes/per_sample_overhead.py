"""Data in memory are fetched sample by sample, and the Python calls for that take the time.

How it is detected
    A batch has at least 8 samples, a sample takes less than 1 ms, and most of that is CPU time:
    nothing is read, searched, decoded or waited for. Stack samples inside fetches are in the
    dataset's own code, or in torch's, NumPy's and pandas' that index and stack, not in other
    libraries. With too few stack samples, a sample must take less than 50 us, or the batch less
    than 1 ms where the cores are full or workers gain nothing.

When it is wrong
    Work that is different for each sample and cannot be done on arrays (parsing, a simulation)
    looks the same if it takes less than 1 ms. How fast whole batches are fetched is not known: only
    the highest speedup is given, that of batches that cost nothing.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.input_pipeline import READS_DATA
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    avoidable_wait,
    core_evidence,
    cores_full,
    cores_text,
    fastest_step,
    fetch_evidence,
    gain_of_workers,
    is_cpu_work,
    receives_slowly,
    wait_evidence,
)
from perfscope.analyzer.input.loading_stages import (
    COLLATE,
    DECODE,
    LOCK,
    OPEN,
    READ,
    SEARCH,
)
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.step_time_models import After

CAUSE = "per-sample-overhead"
CALLS_SHARE = 0.6
"""The least share of the stack samples that is in the dataset's own code or in torch's stacking."""
OTHER_SHARE = 0.2
"""The largest share of a fetch that is waiting, or of its samples that read, search or decode."""

INDEX_BATCHES = Advice(
    "index-whole-batches",
    "index the whole batch at once instead of one sample at a time",
    "samples-are-light",
    "The samples of a batch are in memory and fetched one by one, each in less than 1 ms.",
)
GETITEMS = Advice(
    "define-getitems",
    "give the dataset `__getitems__(indices)`, which the loader calls once per batch"
    " (torch >= 2.0), and let it return slices",
    "samples-are-light",
    "The samples of a batch are in memory and fetched one by one, each in less than 1 ms.",
)
YIELD_BATCHES = Advice(
    "yield-whole-batches",
    "let the dataset yield whole batches, made with array operations",
    "samples-are-light-and-yielded",
    "The dataset is iterable, and yields samples from memory one by one, each in less than 1 ms.",
)
LOAD_IN_LOOP = Advice(
    "fetch-batches-in-the-loop",
    "fetch whole batches in the training process: from memory they cost less than receiving them"
    " from another process",
    "samples-are-tiny-and-workers-send-them",
    "The samples of a batch are in memory and fetched one by one by workers, each in less than 50"
    " us.",
)
KEEP_ON_DEVICE = Advice(
    "keep-dataset-on-device",
    "keep the data on the device, if it fits, and index it there",
    "samples-are-light-on-a-device",
    "The samples of a batch are light and in memory, and the program uses an accelerator.",
)
ADVICE = (INDEX_BATCHES, GETITEMS, YIELD_BATCHES, LOAD_IN_LOOP, KEEP_ON_DEVICE)


def applies(case: LoaderCase) -> bool:
    """Return whether samples in memory are fetched one by one, and receiving is not the cause."""
    fetch = case.pipeline.fetch
    if fetch is None or not fetch.samples >= case.limits.many_samples:
        return False
    if receives_slowly(case) or not is_from_memory(case):
        return False
    if case.code.is_known:
        return is_call_by_call(case)
    without_gain = cores_full(case) or gain_of_workers(case) < case.limits.workers_gain
    is_light_batch = fetch.cpu < case.limits.light_batch_ns and without_gain
    return is_light_batch or per_sample_ns(case) < case.limits.tiny_sample_ns


def per_sample_ns(case: LoaderCase) -> float:
    """Return the CPU time of a sample: its share of fetching and collating the batch."""
    return case.fetch.cpu / max(case.fetch.samples, 1.0)


def is_from_memory(case: LoaderCase) -> bool:
    """Return whether fetches compute and read nothing."""
    fetch = case.fetch
    if fetch.read_bytes >= READS_DATA or not is_cpu_work(case):
        return False
    if fetch.io + fetch.waiting > OTHER_SHARE * fetch.wall:
        return False
    others = case.code.stage_share(LOCK, SEARCH, OPEN, READ)
    return max(others, case.code.decode_share) <= OTHER_SHARE


def is_call_by_call(case: LoaderCase) -> bool:
    """Return whether the samples are in calls for each sample, not in other libraries or batches.

    The program's own collate function is not such a call. The longer a sample takes, the less may
    functions that the dataset calls have work of their own.
    """
    code, fetch, limits = case.code, case.fetch, case.limits
    per_sample = per_sample_ns(case)
    own_collate = fetch.collate / max(fetch.wall, 1.0) - code.stage_share(COLLATE)
    if per_sample >= limits.light_sample_ns or own_collate >= limits.main_cause_share:
        return False
    if code.share_of([stack.takes_whole_batches for stack in code.stacks]) > 0.0:
        return False
    may_call = per_sample < limits.short_sample_ns
    calls = [
        stack.is_call_overhead
        and stack.stage != DECODE
        and (may_call or stack.program_functions <= 1)
        for stack in code.stacks
    ]
    return code.share_of(calls) >= CALLS_SHARE


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the ceiling: the step with batches that cost nothing to fetch."""
    pipeline, fetch = case.pipeline, case.fetch
    likely = max(pipeline.step - avoidable_wait(pipeline, case.limits), 1.0)
    by = "The loop" if pipeline.workers == 0 else "Each worker"
    return PredictedFix(
        after=After(pipeline.step, likely, min(fastest_step(case), likely)),
        text=(
            f"{by} fetches {digits(fetch.samples)} samples per batch one by one, each in"
            f" {ms(per_sample_ns(case))} of CPU time: {ms(fetch.cpu)} per batch. The data are in"
            " memory, so whole batches can be made at once."
        ),
        caveat=f"More workers would do the same calls: {cores_text(case)}.",
        actions=batch_actions(case),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            sample_evidence(case),
            *core_evidence(case),
        ],
        is_ceiling=True,
        where=case.code.hottest_line(),
    )


def batch_actions(case: LoaderCase) -> list[Action]:
    """Return the advice to fetch whole batches."""
    holds, iterates = applies(case), case.iterates
    evidence = (
        f"{ms(per_sample_ns(case))} of CPU time per sample, {digits(case.fetch.samples)} samples"
        " per batch"
    )
    snippet = (
        "DataLoader(data, sampler=BatchSampler(RandomSampler(data), batch_size, True),"
        " batch_size=None)"
    )
    return [
        *INDEX_BATCHES.given(holds and not iterates, evidence, snippet=snippet),
        *GETITEMS.given(holds and not iterates, evidence),
        *YIELD_BATCHES.given(
            holds and iterates, evidence, snippet="DataLoader(data, batch_size=None)"
        ),
        *LOAD_IN_LOOP.given(
            holds
            and case.pipeline.workers > 0
            and per_sample_ns(case) < case.limits.tiny_sample_ns,
            f"{evidence}; receiving takes {ms(case.pipeline.received)} of CPU time per step",
        ),
        *KEEP_ON_DEVICE.given(holds and case.on_device, evidence),
    ]


def sample_evidence(case: LoaderCase) -> Evidence:
    """Return the time per sample, and the share of the stack samples in calls for each."""
    code = case.code
    calls = code.share_of([stack.is_call_overhead for stack in code.stacks])
    seen = f", {percent(calls)} of the stack samples in calls per sample" if code.is_known else ""
    value = per_sample_ns(case)
    return Evidence(f"{ms(value)} of CPU time per sample{seen}", round(value / 1e3, 3), "us/sample")
