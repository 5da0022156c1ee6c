"""What was checked and what was not: readable names, and the reasons in groups."""

from dataclasses import dataclass

from perfscope.analyzer.diagnosis import Diagnosis, NotChecked
from perfscope.analyzer.number_text import percent

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
GROUP_TEXTS = {
    "no-device": "no GPU",
    "no-driver": "no NVIDIA driver",
    "no-kernels": "no kernels recorded",
    "one-process": "one process",
    "too-short": "recording too short",
    "not-calibrated": "CPU not calibrated",
    "not-permitted": "not permitted",
    "not-in-this-format": "not in this kind of recording",
    "other": "other reasons",
}


@dataclass(frozen=True)
class NotCheckedReason:
    """Findings that were not checked for one kind of reason."""

    text: str
    findings: list[str]


def readable_name(finding_id: str) -> str:
    """Return the name of a finding in words: `gil-contention` is `GIL contention`."""
    words = finding_id.replace("_", "-").split("-")
    return " ".join(SPECIAL_SPELLINGS.get(word, word) for word in words)


def not_checked_by_group(diagnosis: Diagnosis) -> list[NotCheckedReason]:
    """Return the findings that were not checked, by kind of reason, the largest group first."""
    groups: dict[str, list[str]] = {}
    for unchecked in diagnosis.not_checked:
        groups.setdefault(unchecked.group, []).append(readable_name(unchecked.id))
    largest_first = sorted(groups.items(), key=lambda group: (group[0] == "other", -len(group[1])))
    return [NotCheckedReason(GROUP_TEXTS.get(name, name), ids) for name, ids in largest_first]


def not_checked_by_reason(not_checked: list[NotChecked]) -> list[NotCheckedReason]:
    """Return the findings that were not checked, by their exact reason."""
    reasons: dict[str, list[str]] = {}
    for unchecked in not_checked:
        reasons.setdefault(unchecked.reason, []).append(unchecked.id)
    return [NotCheckedReason(reason, ids) for reason, ids in reasons.items()]


def incomplete_parts(diagnosis: Diagnosis, *, absent_too: bool) -> list[tuple[str, str]]:
    """Return (what, why) for rules that failed, sources with gaps, and dropped data.

    `absent_too` adds the sources without any data; the findings that need them are not checked.
    """
    failed = [(rule.id, f"check failed: {rule.error}") for rule in diagnosis.failed]
    hidden = {"ok"} if absent_too else {"ok", "off", "unavailable"}
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
    return [*unchecked, *incomplete_parts(diagnosis, absent_too=True)]


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
