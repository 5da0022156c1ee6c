"""Differences between the state of a process before an attach and its state after."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.safety.soak.targets import RunningProgram, seen_from_outside

SETTLE_S = 20.0
BEFORE = 3
NOT_COMPARED = ("memory", "exit_slots")
ONLY_MORE = ("children", "children's mappings")
"""Children start and end at any time; only more of them, or more in them, is a change."""
CHILD_KEYS = ("identities", "hooks", "gc", "sys_hooks", "tracing", "handlers")


def difference(before: Any, after: Any) -> str | None:
    """Return a short text about what changed between two values, or None."""
    if before == after:
        return None
    if isinstance(before, Counter):
        more, less = after - before, before - after
        return f"+{dict(more)} -{dict(less)}"
    if isinstance(before, dict):
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        return ", ".join(f"{key} {'added' if key not in before else 'changed'}" for key in keys[:8])
    if isinstance(before, list) and all(isinstance(item, str) for item in (*before, *after)):
        return f"+{sorted(set(after) - set(before))[:8]} -{sorted(set(before) - set(after))[:8]}"
    return f"{before} -> {after}"


def whole_state(run: RunningProgram) -> dict[str, Any]:
    """Return the state of the process as seen from inside and outside. Raises TargetEnded."""
    return {**run.state(), **seen_from_outside(run)}


def states_before(run: RunningProgram) -> list[dict[str, Any]]:
    """Return several states in a row, between which differs what changes without perfscope. Raises
    TargetEnded.
    """
    states = [whole_state(run)]
    while len(states) < BEFORE:
        time.sleep(0.2)
        states.append(whole_state(run))
    return states


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """Return what differs, by part of the state."""
    found = {}
    for key in before:
        if key in NOT_COMPARED:
            continue
        if key in ONLY_MORE:
            more = {
                name: count
                for name, count in after[key].items()
                if count > before[key].get(name, 0)
            }
            changed = f"more: {more}" if more else None
        else:
            changed = difference(before[key], after[key])
        if changed:
            found[key] = changed
    # The first attach registers one function, which remains.
    if after["exit_slots"] > before["exit_slots"] + 1:
        found["exit_slots"] = f"{before['exit_slots']} -> {after['exit_slots']}"
    return found


def settle(
    run: RunningProgram, before: list[dict[str, Any]]
) -> tuple[dict[str, str], float, dict[str, Any]]:
    """Wait up to SETTLE_S until the state is one of those before the attach.

    Returns (what still differs, seconds waited, the last state). Raises TargetEnded.
    """
    began = time.monotonic()
    while True:
        after = whole_state(run)
        left = min((changes(state, after) for state in before), key=len)
        waited = time.monotonic() - began
        if not left or waited > SETTLE_S:
            return left, waited, after
        time.sleep(0.1)


def changed_children(
    lines: list[dict[str, Any]], before: dict[str, Any], earlier: list[dict[str, Any]]
) -> list[str]:
    """Return how children differ from those of the same kind before the attach; without any, from
    their parent before the attach.
    """
    usual = {line["kind"]: line["state"] for line in reversed(earlier)}
    found = []
    for line in lines:
        for key in CHILD_KEYS:
            expected, seen = usual.get(line["kind"], before)[key], line["state"][key]
            if key == "identities":  # a child may load more; what both have must be the same
                expected = {name: what for name, what in expected.items() if name in seen}
                seen = {name: what for name, what in seen.items() if name in expected}
            changed = difference(expected, seen)
            if changed:
                found.append(f"{line['kind']}: {key}: {changed}")
    return sorted(set(found))


def processes_marked(marker: str) -> list[str]:
    """Return the processes of an attach that still exist, by a variable in their environment."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and marker.encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_text().replace("\0", " ")[:80])
        except OSError:
            continue
    return found
