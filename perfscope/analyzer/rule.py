"""The declaration of a finding: one `RULE` in its file, checked when the file is imported."""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import CodeLocation, Finding, NotCheckedGroup
from perfscope.analyzer.limits import Limits
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

PARTS_OF_HOST_BOUND = ("gc", "gil")
"""Columns of the time budget in addition to its categories."""
DOCUMENTATION_HEADINGS = ("What it means", "How it is detected", "What to do", "When it is wrong")
KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Unmet:
    """Why a finding cannot be checked in a recording, and the kind of that reason."""

    group: NotCheckedGroup
    reason: str


@dataclass(frozen=True)
class Rule:
    """One finding: how it is detected, and what the stages of a diagnosis need to know of it.

    Raises ValueError where it contradicts itself.
    """

    id: str
    not_applicable: Callable[[Trace, Limits], Unmet | str | None]
    """Returns why the finding cannot be checked in this recording, None when it can."""
    detect: Callable[[Trace, Limits], Finding | None]
    """Returns the finding, None when it is not there. A pure function of its arguments."""
    needs: tuple[str, ...] = ()
    """Tables without which it cannot be checked."""
    category: str | None = None
    """The category of the time budget (or `gc`, `gil`) that holds its loss in each step.

    None: its share of every step.
    """
    color: str | None = None
    """The category of the time budget whose color marks it on the screens, where its loss is in
    none of them or in a part of one.
    """
    in_traces: bool = True
    """Whether the trace of a profiler can show it."""
    in_windows: bool = False
    """Whether the profiling window of a recording on a device is checked, as a trace, where it has
    one.
    """
    on_host: bool = False
    """Whether it delays only the host: it costs at most the time in which a device is idle."""
    across_hosts: bool = False
    """Whether it compares hosts; else it is checked on each host of a job separately."""
    consequences: tuple[str, ...] = ()
    """Findings (`ID` or `ID/CAUSE`) that this one can cause."""
    loss_is_upper_bound: bool = False
    """Whether its loss is the most that a different computation saves, and not lost time."""
    outranks_others_if_critical: bool = False
    """Whether it is the verdict wherever it is critical, however much the other findings cost."""
    replaces_advice: bool = False
    """Whether the advice of the findings that it explains is left out: it treats a consequence."""
    prevents_others: bool = False
    """Whether nothing else can be judged while it holds: where that is most of the recording, the
    other findings are not reported.
    """
    loses_compute_time: bool = False
    """Whether its loss is counted as `compute-or-host`: the thread is runnable and has no core."""
    where: Callable[[Trace, Finding], CodeLocation | None] | None = None
    """Returns the program's line of a finding for which `detect` gives none; not asked in the trace
    of a profiler. None: the finding has no line, or `detect` knows it.
    """
    advice: tuple[Advice, ...] = ()
    """Every change that it can recommend."""

    def __post_init__(self) -> None:
        missing = sorted(set(self.needs) - set(TABLES))
        if not KEBAB_CASE.fullmatch(self.id):
            raise ValueError(f"rule {self.id!r}: an id is in kebab-case")
        if missing:
            raise ValueError(
                f"rule {self.id}: it needs tables that do not exist: {', '.join(missing)}"
            )
        for advice in self.advice:
            if not KEBAB_CASE.fullmatch(advice.id) or not KEBAB_CASE.fullmatch(advice.precondition):
                raise ValueError(
                    f"rule {self.id}: the ids of advice {advice.id!r} are in kebab-case"
                )
        if self.category not in CATEGORY and self.color not in CATEGORY:
            raise ValueError(f"rule {self.id!r}: it needs the color of a category")
        if self.category not in (None, *CATEGORY, *PARTS_OF_HOST_BOUND):
            raise ValueError(f"rule {self.id}: the time budget has no category {self.category!r}")

    @property
    def documentation(self) -> str:
        """The user's documentation: the docstring of the file that declares the rule."""
        return inspect.cleandoc(sys.modules[self.detect.__module__].__doc__ or "")

    @property
    def module(self) -> str:
        """The module that declares the rule."""
        return self.detect.__module__
