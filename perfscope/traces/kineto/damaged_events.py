"""Removes events without a time, and events that a file contains twice."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.kineto.assemble import EventGroup
from perfscope.traces.kineto.columns import CodedNames

Groups = dict[str, EventGroup]
LONGEST_START_NS: Final = 10_000_000_000
"""Where no other event starts within this after time 0, an event at 0 has no time."""
SAMPLED: Final = 500
TWICE_SHARE: Final = 0.05
"""From this share of a sample on, a group is searched for events that it contains twice."""


def groups_without_damage(groups: Groups) -> tuple[Groups, dict[str, int]]:
    """Return the groups without such events, and how many were removed, by invariant."""
    with_times, without_time = groups_with_times(groups)
    once, twice = groups_without_duplicates(with_times)
    return once, {"event-without-time": without_time, "duplicate-events": twice}


def groups_with_times(groups: Groups) -> tuple[Groups, int]:
    """Return the groups without events at time 0, if no other event is near it; and their number.

    If all events are at time 0 they are kept.
    """
    is_missing = {name: group.numbers("ts") == 0 for name, group in groups.items()}
    count = sum(int(np.count_nonzero(mask)) for mask in is_missing.values())
    if not count:
        return groups, 0
    timed = [group.numbers("ts")[~is_missing[name]] for name, group in groups.items()]
    earliest = [int(np.abs(ts).min()) for ts in timed if len(ts)]
    if not earliest or min(earliest) < LONGEST_START_NS:
        return groups, 0
    kept = {name: group.where(~is_missing[name]) for name, group in groups.items()}
    return kept, count


def groups_without_duplicates(groups: Groups) -> tuple[Groups, int]:
    """Return the groups with each event once, and how many events were removed."""
    if not any(looks_recorded_twice(group) for group in groups.values()):
        return groups, 0
    once, count = {}, 0
    for name, group in groups.items():
        is_first = first_of_equal(group)
        count += int(np.count_nonzero(~is_first))
        once[name] = group if is_first.all() else group.where(is_first)
    return once, count


def looks_recorded_twice(group: EventGroup) -> bool:
    """Return whether some events of a sample are in the group twice. An event without a duration
    may have a twin that is another event.
    """
    lasting = np.flatnonzero(group.numbers("dur") > 0)
    if len(lasting) < 2:
        return False
    sample = lasting[:: max(len(lasting) // SAMPLED, 1)]
    ts = group.numbers("ts")
    sampled_ts = np.sort(ts[sample])
    at = np.minimum(np.searchsorted(sampled_ts, ts), len(sampled_ts) - 1)
    part = group.where((sampled_ts[at] == ts) & (group.numbers("dur") > 0))
    twins = np.count_nonzero(~first_of_equal(part))
    return int(twins) >= max(TWICE_SHARE * len(sample), 2)


def first_of_equal(group: EventGroup) -> NDArray[np.bool_]:
    """Return which events of a group are the first with their times, thread, name and numbers."""
    is_first = np.ones(len(group), bool)
    if not len(group):
        return is_first
    keys = [column for column in group.columns.values() if not isinstance(column, CodedNames)]
    keys.append(group.names("name").codes.astype(np.int64))
    order = np.lexsort(keys)
    equal = np.ones(len(group) - 1, bool)
    for key in keys:
        equal &= key[order][1:] == key[order][:-1]
    is_first[order[1:]] = ~equal
    return is_first
