"""Loading batches is CPU work, decoding is a good part of it, and the usable cores are full.

How it is detected
    At least 60 % of a fetch is CPU time or a wait for a core, without the waits that other jobs
    cause. The usable cores are full, or no number of workers makes a step 15 % faster. A decoder
    (of images, audio, video or compressed files) is in at least a fifth of the stack samples inside
    fetches, or of the samples of the workers' native code, and no search of folders takes more.

When it is wrong
    The prediction assumes that the CPU work of loading disappears; at least half of it does in the
    pessimistic case. Where other jobs fill the cores, moving those helps too: the caveat says how
    many cores they use.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action
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
    fetch_evidence,
    wait_evidence,
)
from perfscope.analyzer.input.loading_stages import DECODE, LOCK, SEARCH
from perfscope.analyzer.number_text import ms, percent, plural

CAUSE = "decode-bound"
DECODE_SHARE = 0.2
"""With a smaller share of decoding in the work, something else takes most of it."""

STORE_SMALLER = Advice(
    "decode-at-training-size",
    "decode less: store the data at the size that training uses",
    "fetches-decode",
    "Loading is CPU work, and a decoder takes at least a fifth of it.",
)
DRAFT_JPEG = Advice(
    "decode-jpeg-at-reduced-size",
    "decode at reduced size (JPEG draft mode)",
    "fetches-decode-jpeg",
    "Loading is CPU work, a decoder takes at least a fifth of it, and a JPEG decoder was sampled.",
)
CACHE_DECODED = Advice(
    "cache-decoded-samples",
    "decode once: keep decoded samples in a cache (memory map, uint8 tensors), augment from there",
    "fetches-decode",
    "Loading is CPU work, and a decoder takes at least a fifth of it.",
)
MOVE_DECODING = Advice(
    "move-decoding",
    "move decoding to idle hardware: decode on the GPU (nvJPEG, DALI), or run on more cores",
    "fetches-decode",
    "Loading is CPU work, and a decoder takes at least a fifth of it.",
)
ADVICE = (STORE_SMALLER, DRAFT_JPEG, CACHE_DECODED, MOVE_DECODING)


def applies(case: LoaderCase) -> bool:
    """Return whether decoding is a good part of loading, which the cores cannot do faster."""
    return is_cpu_limited(case) and decodes(case)


def decodes(case: LoaderCase) -> bool:
    """Return whether a decoder takes a good part of the fetches, and no search takes more."""
    code = case.code
    least = max(DECODE_SHARE, code.stage_share(SEARCH), code.stage_share(LOCK))
    return code.decode_share >= least


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for loading that costs nothing: the consumer no longer shares cores."""
    return PredictedFix(
        after=step_without_loading_work(case),
        text=(
            f"{text_of_cpu_work(case, 'decode')} Decoding takes at least"
            f" {percent(case.code.decode_share)} of it."
        ),
        caveat=why_no_workers(case),
        actions=decode_less(case),
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
        where=case.code.hottest_line(DECODE) or case.code.hottest_line(),
    )


def decode_less(case: LoaderCase) -> list[Action]:
    """Return the actions for batches that are decoded."""
    fetch, needed = case.fetch, cores_needed(case)
    holds = applies(case)
    evidence = (
        f"decoding is {percent(case.code.decode_share)} of the samples; {ms(fetch.cpu)} of CPU time"
        f" and {ms(fetch.run_delay)} of waiting for a core in a fetch of {ms(fetch.wall)}"
    )
    more = plural(needed, "core") if needed is not None else "more cores"
    decoder = "on the GPU (nvJPEG, DALI)" if case.on_device else None
    text = f"or decode {decoder}, or run on {more}" if decoder else f"or run on {more}"
    return [
        *CACHE_DECODED.given(holds, evidence),
        *STORE_SMALLER.given(holds, evidence),
        *DRAFT_JPEG.given(
            holds and case.code.decodes_jpeg,
            evidence,
            snippet="image.draft('RGB', (256, 256))  # PIL, before the first pixel is read",
        ),
        *MOVE_DECODING.given(holds, evidence, text=text),
    ]
