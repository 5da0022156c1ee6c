"""What was checked and what was not: readable names, and the reasons with their counts."""

from collections import Counter
from dataclasses import dataclass

from perfscope.analyzer.diagnosis import Diagnosis, NotChecked, NotCheckedGroup
from perfscope.analyzer.number_text import percent

BOUND = " bound"
SPECIAL_SPELLINGS = {
    "cpu": "CPU",
    "gc": "GC",
    "gil": "GIL",
    "gpu": "GPU",
    "numa": "NUMA",
    "nvlink": "NVLink",
    "nvml": "NVML",
    "pcie": "PCIe",
}
NEEDED_BY_GROUP: dict[NotCheckedGroup, str] = {
    "no-device": "a GPU",
    "no-driver": "the NVIDIA driver",
    "no-kernels": "recorded kernels",
    "one-process": "several processes",
    "too-short": "a longer recording",
    "not-calibrated": "a calibrated CPU",
    "not-permitted": "more permissions",
    "not-in-this-format": "another kind of recording",
    "no-requests": "requests to a server",
    "no-engine-metrics": "the metrics of an inference engine",
}
"""What findings need that were not checked, by the group of the reason; `other` has many."""


@dataclass(frozen=True)
class NotCheckedReason:
    """Findings that were not checked for one reason."""

    text: str
    findings: list[str]


def readable_name(finding_id: str) -> str:
    """Return the name of a finding in words: `gil-contention` is `GIL contention`."""
    words = finding_id.replace("_", "-").split("-")
    spelled = " ".join(SPECIAL_SPELLINGS.get(word, word) for word in words)
    return f"{spelled.removesuffix(BOUND)}-bound" if spelled.endswith(BOUND) else spelled


def not_checked_counts(diagnosis: Diagnosis) -> list[str]:
    """Return how many findings were not checked, by kind of reason, the largest number first.

    For example `11 findings that need the NVIDIA driver`, `8 that need recorded kernels`.
    """
    counts = Counter(unchecked.group for unchecked in diagnosis.not_checked)
    largest_first = sorted(counts.items(), key=lambda count: (count[0] == "other", -count[1]))
    texts: list[str] = []
    for group, count in largest_first:
        noun = "" if texts else " finding" if count == 1 else " findings"
        texts.append(f"{count}{noun} {group_reason(group, count)}")
    return texts


def group_reason(group: NotCheckedGroup, count: int) -> str:
    """Return `that need a GPU`: why the findings of a group were not checked."""
    needed = NEEDED_BY_GROUP.get(group)
    if needed is None:
        if count == 1:
            return "that does not apply or lacks data"
        return "that do not apply or lack data"
    return f"that {'needs' if count == 1 else 'need'} {needed}"


def not_checked_by_reason(not_checked: list[NotChecked]) -> list[NotCheckedReason]:
    """Return the findings that were not checked, by their exact reason."""
    reasons: dict[str, list[str]] = {}
    for unchecked in not_checked:
        reasons.setdefault(unchecked.reason, []).append(unchecked.id)
    return [NotCheckedReason(reason, ids) for reason, ids in reasons.items()]


def incomplete_parts(diagnosis: Diagnosis, *, include_absent: bool) -> list[tuple[str, str]]:
    """Return (what, why) for rules that failed, sources with gaps, and dropped data.

    `include_absent` adds the sources without any data; the findings that need them are not checked.
    """
    failed = [(rule.id, f"check failed: {rule.error}") for rule in diagnosis.failed]
    hidden = {"ok"} if include_absent else {"ok", "off", "unavailable"}
    absent = [source for source in diagnosis.sources if source.status not in hidden]
    sources = [(source.name, f"{source.status}: {source.reason}") for source in absent]
    reasons = [source.reason or "" for source in absent]
    dropped = [
        ("dropped", text)
        for text in diagnosis.dropped
        if not any(text in reason for reason in reasons)
    ]
    return [*failed, *sources, *dropped]


def data_quality_text(diagnosis: Diagnosis) -> str:
    """Return what is wrong with the recorded data, "" where nothing is."""
    return " ".join(row.text for row in diagnosis.data_quality)


def not_measured(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Return (what, why) for everything that was not checked, failed or was dropped."""
    reasons = not_checked_by_reason(diagnosis.not_checked)
    unchecked = [(", ".join(group.findings), group.text) for group in reasons]
    return [*unchecked, *incomplete_parts(diagnosis, include_absent=True)]


def overhead_text(diagnosis: Diagnosis) -> str | None:
    """Return `0.4 % (0.1 to 0.9 %)`: the share of its time that the run lost to the recording.

    None where it is not known. Values that noise puts below zero are shown as zero.
    """
    overhead = diagnosis.overhead
    if overhead is None:
        return None
    values = (overhead.share, overhead.low, overhead.high)
    share, low, high = (percent(max(value, 0.0)) for value in values)
    return f"{share} ({low.removesuffix(' %')} to {high})"


def clock_agreement(diagnosis: Diagnosis) -> str | None:
    """Return how well the clocks of several ranks agree; None for a single clock."""
    clocks = (source for source in diagnosis.sources if source.name == "clocks")
    agreeing = next((source for source in clocks if source.status == "ok"), None)
    return None if agreeing is None else agreeing.reason
