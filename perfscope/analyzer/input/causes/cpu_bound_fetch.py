"""Loading batches is CPU work in the dataset's code, nothing is decoded, and the cores are full.

How it is detected
    At least 60 % of a fetch is CPU time or a wait for a core, without the waits that other jobs
    cause. The usable cores are full, or no number of workers makes a step 15 % faster. No decoder
    was sampled, in stacks or in native code, for a fifth of that time: else the cause is
    `decode-bound`. The advice follows what the stack samples inside fetches show most: searching
    folders, opening files, reading formats, or computing.

When it is wrong
    The prediction is a ceiling: it assumes that all of this work disappears. Where other jobs fill
    the cores, moving those helps too: the caveat says how many cores they use.
"""

from dataclasses import replace

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, CodeLocation
from perfscope.analyzer.input.fetch_cores import (
    cores_needed,
    is_cpu_limited,
    step_without_loading_work,
    text_of_cpu_work,
    why_no_workers,
)
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    core_evidence,
    fastest_step,
    fetch_evidence,
    wait_evidence,
)
from perfscope.analyzer.input.loading_stages import OPEN, READ, SEARCH, STAGE_TEXT
from perfscope.analyzer.number_text import ms, percent

CAUSE = "cpu-bound-fetch"
STAGE_SHARE = 0.3
"""The advice for a stage is given where it is at least this share of the samples in fetches."""

LIST_FILES_ONCE = Advice(
    "list-files-once",
    "list the files once, when the dataset is created, and find each sample's file in that list",
    "fetches-search-folders",
    "At least 30 % of the stack samples inside fetches search folders or check that files exist.",
)
OPEN_ONCE = Advice(
    "open-files-once",
    "open each file once per worker and keep it open, or pack the samples into fewer files",
    "fetches-open-files",
    "At least 30 % of the stack samples inside fetches open files.",
)
STORE_FOR_READING = Advice(
    "store-in-a-format-that-needs-no-parsing",
    "store the samples in a format that needs no parsing, such as memory-mapped arrays",
    "fetches-parse-files",
    "At least 30 % of the stack samples inside fetches read or parse a file format.",
)
PREPARE_SAMPLES_ONCE = Advice(
    "prepare-samples-once",
    "do this work once and keep its result, or do it for a whole batch with array operations",
    "loading-computes-without-decoder",
    "Most of a fetch is CPU time or a wait for a core, and its code was sampled: no decoder, search"
    " or file format takes most of it.",
)
ADVICE = (LIST_FILES_ONCE, OPEN_ONCE, STORE_FOR_READING, PREPARE_SAMPLES_ONCE)
ADVICE_OF_STAGE = {SEARCH: LIST_FILES_ONCE, OPEN: OPEN_ONCE, READ: STORE_FOR_READING}


def applies(case: LoaderCase) -> bool:
    """Return whether loading is CPU work on full cores, or no number of workers gains anything."""
    return is_cpu_limited(case)


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the ceiling for loading that costs nothing."""
    text = text_of_cpu_work(case, "load")
    stage, after = dominant_stage(case), step_without_loading_work(case)
    if stage is not None:
        text += f" {percent(case.code.stage_share(stage))} of it is {STAGE_TEXT[stage]}."
    return PredictedFix(
        after=replace(after, fast=min(after.fast, fastest_step(case))),
        text=text,
        caveat=why_no_workers(case),
        actions=stage_actions(case, stage),
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
        is_ceiling=True,
        where=line_of_stage(case, stage),
    )


def dominant_stage(case: LoaderCase) -> str | None:
    """Return the stage with advice of its own that takes enough of the samples, the largest."""
    shares = case.code.stage_shares
    return next(
        (
            stage
            for stage, share in shares.items()
            if stage in ADVICE_OF_STAGE and share >= STAGE_SHARE
        ),
        None,
    )


def line_of_stage(case: LoaderCase, stage: str | None) -> CodeLocation | None:
    """Return the line of the dominant stage, else that of the whole fetch."""
    line = None if stage is None else case.code.hottest_line(stage)
    return line or case.code.hottest_line()


def is_code_known(case: LoaderCase) -> bool:
    """Return whether stacks or native code were sampled: else a decoder may take the time."""
    return case.code.is_known or bool(case.code.libraries)


def stage_actions(case: LoaderCase, stage: str | None) -> list[Action]:
    """Return the advice for the dominant stage, or to do the work less often without any."""
    fetch = case.fetch
    if stage is not None:
        share = percent(case.code.stage_share(stage))
        evidence = f"{share} of {case.code.samples} stack samples inside fetches"
        return ADVICE_OF_STAGE[stage].given(True, evidence)
    needed = cores_needed(case)
    more = "" if needed is None else f"; {needed} cores would be needed"
    return PREPARE_SAMPLES_ONCE.given(
        is_cpu_limited(case) and is_code_known(case),
        f"{ms(fetch.cpu)} of CPU time in a fetch of {ms(fetch.wall)}{more}",
    )
