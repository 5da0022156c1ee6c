"""Workers wait for storage: reads from a device, page faults, threads blocked in file reads.

How it is detected
    At least 30 % of a fetch is a wait for storage: waits for block devices and page faults, and
    samples of threads that are blocked in a file read.

When it is wrong
    The first epoch reads from disk what later epochs find in the page cache: attach again after it.
    A client of a network file system that waits on a socket counts as waiting, not as storage; the
    cause is then `too-few-workers`.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    delay_by_kernel,
    fetch_evidence,
    predict_with_supply,
    supply_time,
    wait_evidence,
    waits_for_storage,
)
from perfscope.analyzer.number_text import megabytes, ms, percent

CAUSE = "storage-bound"

COPY_TO_LOCAL_DISK = Advice(
    "copy-dataset-to-fast-storage",
    "copy the dataset to local disk or memory before training, or keep decoded samples in a cache",
    "fetches-wait-for-storage",
    "At least 30 % of a fetch is a wait for storage.",
)
READ_LARGE_PIECES = Advice(
    "read-large-pieces",
    "read in large pieces: pack small files into shards (tar, Parquet, LMDB) and read them in"
    " order, and issue more reads in parallel",
    "fetches-wait-for-storage",
    "At least 30 % of a fetch is a wait for storage.",
)
ADVICE = (COPY_TO_LOCAL_DISK, READ_LARGE_PIECES)


def applies(case: LoaderCase) -> bool:
    """Return whether there is evidence of I/O that takes a good part of a fetch."""
    return case.pipeline.fetch is not None and waits_for_storage(case)


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for the same loader with the data in memory.

    The work that the kernel does for these reads goes as well.
    """
    pipeline, fetch = case.pipeline, case.fetch
    supplied = supply_time(case, max(pipeline.workers, 1), fetch.wall - fetch.io)
    waits = waits_for_storage(case)
    evidence = f"{ms(fetch.io)} of a fetch of {ms(fetch.wall)} is a wait for storage"
    workers = max(2 * pipeline.workers, 2)
    return PredictedFix(
        after=predict_with_supply(case, supplied, freed=delay_by_kernel(case)),
        text=(
            f"Each batch waits {ms(fetch.io)} for storage ({percent(fetch.io / fetch.wall)} of its"
            f" {ms(fetch.wall)}), so training waits {ms(pipeline.input_wait)} of each"
            f" {ms(pipeline.step)} step."
        ),
        caveat="Faster decoding would not help.",
        actions=[
            *COPY_TO_LOCAL_DISK.given(waits, evidence),
            *READ_LARGE_PIECES.given(
                waits,
                evidence,
                snippet=f"DataLoader(..., num_workers={workers}, prefetch_factor=4)",
            ),
        ],
        evidence=[wait_evidence(case), *fetch_evidence(case), *read_evidence(case)],
        where=case.code.hottest_line(),
    )


def read_evidence(case: LoaderCase) -> list[Evidence]:
    """Return the bytes read from disk per batch and per second, where any were read."""
    pipeline, size = case.pipeline, case.fetch.read_bytes
    if size <= 0:
        return []
    rate = size * pipeline.batches / max(pipeline.step, 1.0) * 1e9
    text = f"{megabytes(size)} read from disk per batch, {megabytes(rate)}/s in total"
    return [Evidence(text, round(rate / 1e6, 3), "MB/s")]
