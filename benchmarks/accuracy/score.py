"""Points for a diagnosis: 2 right, 1 an honest general answer, 0 unknown, -2 wrong, -4 harmful."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from benchmarks.accuracy.case import Case, places_in

RIGHT, GENERAL, UNKNOWN, WRONG, HARMFUL = 2, 1, 0, -2, -4
UNREADABLE, LONGEST_ERROR = 2, 2
"""Exit code of perfscope for an input that it cannot read, and lines of its error at most."""
Answer = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A command that printed no diagnosis. Without an exit code it did not end in time."""

    error: str
    exit_code: int | None = None


def points_without_diagnosis(case: Case, failure: Failure) -> tuple[int, str]:
    """Return the points for a command that failed, and the reason for them."""
    if not case.refused:
        return UNKNOWN, failure.error
    lines = len(failure.error.splitlines())
    if failure.exit_code == UNREADABLE and 0 < lines <= LONGEST_ERROR:
        return RIGHT, "refused"
    return WRONG, f"exit code {failure.exit_code}, {lines} lines of error"


def points(case: Case, answer: Answer) -> tuple[int, str]:
    """Return the points for a diagnosis (JSON schema 2.0), and the reason for them."""
    if case.refused:
        return WRONG, "diagnosed, not refused"
    verdict = answer["verdict"]
    harmful = harmful_advice(case, answer)
    if harmful:
        return HARMFUL, f"advises: {harmful}"
    differences = list(differing_fields(case, answer))
    if not differences:
        return RIGHT, "right"
    if is_accepted_general(case, verdict):
        return GENERAL, "general"
    if verdict["kind"] == "unknown":
        return UNKNOWN, f"unknown: {verdict['headline']}"
    return WRONG, ", ".join(differences)


def harmful_advice(case: Case, answer: Answer) -> str | None:
    """Return advice that the case excludes, None where there is none."""
    advised = [action for finding in answer["findings"] for action in finding["actions"]]
    texts = [f"{action['text']} {action['snippet'] or ''}" for action in advised]
    for excluded in case.not_advice:
        for text in texts:
            if excluded.lower() in text.lower():
                return text.strip()
    return None


def differing_fields(case: Case, answer: Answer) -> list[str]:
    """Return what differs between a diagnosis and the right answer."""
    verdict = answer["verdict"]
    differences = [
        f"{field} {verdict[field]}, not {wanted}"
        for field in ("id", "cause", "scope")
        if (wanted := getattr(case, field)) is not None and verdict[field] != wanted
    ]
    wanted_places = places_in(case.where)
    if wanted_places and place_of(verdict) not in wanted_places:
        differences.append(f"at {place_of(verdict)}, not {case.where}")
    differences += [f"id {excluded}" for excluded in case.not_id if verdict["id"] == excluded]
    shares = {row["category"]: row["share"] for row in answer["time_budget"]}
    for category, (low, high) in case.budget.items():
        share = shares.get(category, 0.0)
        if not low <= share <= high:
            differences.append(f"{category} {share:.2f}, not {low} to {high}")
    if case.longest_span_s is not None and answer["span_s"] > case.longest_span_s:
        differences.append(f"span {answer['span_s']:.0f} s, not {case.longest_span_s:.0f}")
    violated = {row["invariant"] for row in answer["data_quality"]}
    differences += [f"no word of {name}" for name in case.data_quality if name not in violated]
    ranks = len(answer["processes"])
    if case.kind == "recording" and case.ranks is not None and ranks != case.ranks:
        differences.append(f"{ranks} processes, not {case.ranks}")
    return differences


def is_accepted_general(case: Case, verdict: Answer) -> bool:
    """Return whether a verdict is the general answer that the case accepts."""
    if case.general is None or verdict["kind"] != "general" or verdict["id"] != case.general.id:
        return False
    places = places_in(case.general.where)
    return not places or place_of(verdict) in places


def place_of(verdict: Answer) -> str | None:
    """Return the line of code that a verdict names, as `FILE.py:LINE`."""
    where = verdict["where"]
    return None if where is None else f"{PurePath(where['file']).name}:{where['line']}"
