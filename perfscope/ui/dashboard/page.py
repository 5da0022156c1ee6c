"""The type of a page of the dashboard: its file declares one `PAGE`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.view import View


@dataclass(frozen=True)
class Page:
    """A page of a run: its address below that of the run, its title, and its contents."""

    path: str
    title: str
    not_applicable: Callable[[Trace], str | None]
    """Returns why a run has no such page, None where it has one."""
    layout: Callable[[View], list[Any]]
    """Returns the contents of the page."""

    @property
    def module(self) -> str:
        """The name of the module that declares the page."""
        return self.layout.__module__
