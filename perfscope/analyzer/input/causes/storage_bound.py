"""Workers wait for storage: there is evidence of I/O (reads from a device, page faults, threads
blocked in file reads).
"""

from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.loader_case import (
    Case,
    Remedy,
    beside,
    fetch_evidence,
    io_bound,
    kernels_part,
    supply,
    wait_evidence,
)
from perfscope.analyzer.number_text import megabytes, ms, percent

CAUSE = "storage-bound"


def applies(case: Case) -> bool:
    """Evidence of I/O, and it is a good part of a fetch."""
    return case.pipeline.fetch is not None and io_bound(case)


def remedy(case: Case) -> Remedy:
    """The same pipeline with the data in memory (or storage that answers at once)."""
    line, fetch = case.pipeline, case.fetch
    supplied = supply(case, max(line.workers, 1), fetch.wall - fetch.io)
    after = beside(
        case, supplied, freed=kernels_part(case)
    )  # what the kernel does for these reads goes with them
    evidence = [wait_evidence(case), *fetch_evidence(case)]
    if fetch.read_bytes > 0:
        each = fetch.read_bytes
        rate = each * line.batches / max(line.step, 1.0) * 1e9
        evidence.append(
            Evidence(
                f"{megabytes(each)} read from disk per batch, {megabytes(rate)}/s in total",
                round(rate / 1e6, 3),
                "MB/s",
            )
        )
    return Remedy(
        after=after,
        text=(
            f"Each batch waits {ms(fetch.io)} for storage ({percent(fetch.io / fetch.wall)} of its"
            f" {ms(fetch.wall)}), so training waits {ms(line.input_wait)} of each {ms(line.step)}"
            " step."
        ),
        caveat="Faster decoding would not help.",
        actions=[
            Action(
                "copy the dataset to local disk or memory before training, or keep decoded samples"
                " in a cache"
            ),
            Action(
                "read in large pieces: pack small files into shards (tar, Parquet, LMDB) and read"
                " them in order, and issue more reads in parallel",
                f"DataLoader(..., num_workers={max(2 * line.workers, 2)}, prefetch_factor=4)",
            ),
        ],
        evidence=evidence,
    )
