"""The part that the findings about full links share: collectives of a profiler's trace near the
peak of their links, or byte counters of a live recording.
"""

from collections.abc import Callable

from perfscope.analyzer.budget.trace_case import Case, case_of, missing_device
from perfscope.analyzer.communication.collectives_on_links import (
    CollectiveLinkUse,
    link_evidence,
    unclear_link,
    use_of_path,
)
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Unmet
from perfscope.traces.trace import Trace


def unclear_path(trace: Trace, path: str, limits: Limits) -> Unmet | None:
    """Return why a profiler's trace cannot show whether the links of `path` are full."""
    return missing_device(trace) or unclear_link(trace, path, limits)


def saturated_path(
    trace: Trace,
    path: str,
    id: str,
    limits: Limits,
    *,
    message: Callable[[CollectiveLinkUse, str], Message],
    actions: Callable[[Case, CollectiveLinkUse], list[Action]],
) -> Finding | None:
    """Return the finding about links near their peak most of the time in which data move.

    `message` gets the use of the links and the exposed share as text.
    """
    case = case_of(trace, limits)
    use = use_of_path(case, path)
    share = use.exposed_ns / case.span_ns
    if use.near_share < limits.bus_full_share or share < limits.worth_share:
        return None
    return case.finding(
        id,
        use.exposed_ns,
        limits,
        message=message(use, percent(share)),
        evidence=link_evidence(case, use),
        actions=actions(case, use),
    )
