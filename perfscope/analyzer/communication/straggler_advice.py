"""What to do about a straggler, by the category of the time budget that it spends more time in."""

from typing import Final

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.categories import (
    CHECKPOINT,
    DEVICE_COMPUTE,
    EXPOSED_COPY,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
    SYNC_WAIT,
)
from perfscope.analyzer.diagnosis import Action

CAUSES: Final = {INPUT_WAIT: "input", CHECKPOINT: "checkpoint"}
"""The cause of a straggler, where what it spends longer in has a finding of its own."""
COMPARE_DEVICES: Final = Advice(
    id="compare-straggler-device",
    text=(
        "compare the clock, temperature and power limit of its device, and its batch sizes, with"
        " those of the other ranks"
    ),
    precondition="straggler-computes-longer",
    holds_when="The straggler computes longer than the median of the other ranks.",
)
CHECK_LOADER: Final = Advice(
    id="check-straggler-loader",
    text="check the data loader of that rank: its shard, its storage, its cores",
    precondition="straggler-waits-for-input",
    holds_when="The straggler waits longer for input than the median of the other ranks.",
)
CHECK_HOST: Final = Advice(
    id="check-straggler-host",
    text="check what else runs on the host of that rank, and its cores",
    precondition="straggler-launches-later",
    holds_when="The straggler is host-bound longer than the median of the other ranks.",
)
CHECK_SYNCHRONIZATION: Final = Advice(
    id="check-straggler-synchronization",
    text="check for `.item()` or logging that only that rank does",
    precondition="straggler-synchronizes-longer",
    holds_when="The straggler waits longer in synchronizing calls than the other ranks.",
)
COMPARE_COPIES: Final = Advice(
    id="compare-straggler-copies",
    text="compare its PCIe link and the pinning of its copies with those of the other ranks",
    precondition="straggler-copies-longer",
    holds_when="The copies of the straggler take longer than those of the other ranks.",
)
CHECKPOINT_ELSEWHERE: Final = Advice(
    id="write-straggler-checkpoints-elsewhere",
    text=(
        "write checkpoints in the background, less often, or from another rank in turn: the other"
        " ranks wait for the one that writes"
    ),
    precondition="straggler-writes-checkpoints",
    holds_when="The straggler writes checkpoints longer than the other ranks.",
)
INSPECT_IDLE_TIME: Final = Advice(
    id="inspect-straggler-idle-time",
    text="check on the timeline what its process does while it is idle",
    precondition="straggler-idles-longer",
    holds_when="The straggler is idle longer than the median of the other ranks.",
)
INSPECT_RANK: Final = Advice(
    id="inspect-straggler",
    text="check its cores and their clock, what else runs there, its storage, its batch sizes",
    precondition="ranks-wait-for-straggler",
    holds_when="The other ranks of a live job wait for it for a share that the finding requires.",
)
BALANCE_SAMPLES: Final = Advice(
    id="balance-samples",
    text=(
        "group samples by size, so that every rank gets as much work in each step (if the samples"
        " of this rank are larger)"
    ),
    precondition="straggler-works-longer",
    holds_when="The straggler computes or waits for input longer than the other ranks.",
)
BY_CATEGORY: Final = {
    DEVICE_COMPUTE: COMPARE_DEVICES,
    INPUT_WAIT: CHECK_LOADER,
    HOST_BOUND: CHECK_HOST,
    SYNC_WAIT: CHECK_SYNCHRONIZATION,
    EXPOSED_COPY: COMPARE_COPIES,
    CHECKPOINT: CHECKPOINT_ELSEWHERE,
    OTHER_IDLE: INSPECT_IDLE_TIME,
}
STRAGGLER_ADVICE: Final = (*BY_CATEGORY.values(), INSPECT_RANK, BALANCE_SAMPLES)
WORK_PER_SAMPLE: Final = (DEVICE_COMPUTE, INPUT_WAIT)


def actions_in_traces(category: str, more_ns: float, rank: int, evidence: str) -> list[Action]:
    """Return what to check on `rank`, which spends `more_ns` longer in `category`."""
    advice = BY_CATEGORY[category]
    return [
        *advice.given(more_ns > 0.0, evidence, text=f"rank {rank}: {advice.text}"),
        *BALANCE_SAMPLES.given(category in WORK_PER_SAMPLE and more_ns > 0.0, evidence),
    ]


def actions_in_live_jobs(category: str, subject: str, evidence: str, waited: str) -> list[Action]:
    """Return what to check on the slow ranks, `subject`; `waited` is how long others wait."""
    if category == CHECKPOINT:
        return CHECKPOINT_ELSEWHERE.given(bool(evidence), evidence)
    works_longer = category not in ("", OTHER_IDLE)
    return [
        *INSPECT_RANK.given(True, waited, text=f"{subject}: {INSPECT_RANK.text}"),
        *BALANCE_SAMPLES.given(works_longer, evidence),
    ]
