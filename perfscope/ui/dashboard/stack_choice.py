"""The choice of a phase and a process, for the charts of stacks."""

from dataclasses import dataclass

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.analyzer.run.stacks.stack_filter import (
    sampled_phases_of,
    sampled_processes,
    with_stacks_of,
)
from perfscope.traces.trace import Trace
from perfscope.ui.budget_phrases import phase_label
from perfscope.ui.dashboard.view import View

PHASE, PROCESS = "phase", "process"
MOST_PROCESSES = 40


@dataclass(frozen=True)
class StackChoice:
    """What the address of a page chooses; None is everything."""

    phase: str | None
    process: int | None

    @classmethod
    def of(cls, view: View) -> "StackChoice":
        """Return the choice of an address; what the run does not have is left out."""
        phase, process = view.query.get(PHASE), view.query.get(PROCESS, "")
        known = {str(code): code for code in sampled_processes(view.shown_trace)}
        phases = sampled_phases_of(view.shown_trace)
        return cls(phase if phase in phases else None, known.get(process))


def chosen_stacks(view: View) -> Trace:
    """Return the recording with the stacks that the address chooses."""
    choice = StackChoice.of(view)
    return with_stacks_of(view.shown_trace, choice.phase, choice.process)


def stack_filters(view: View, page: str, tab: str) -> list[Component]:
    """Return the links that choose a phase and a process; nothing where there is no choice."""
    choice, trace = StackChoice.of(view), view.shown_trace
    phases = {phase: phase_label(phase) for phase in sampled_phases_of(trace)}
    processes = {str(code): name for code, name in sampled_processes(trace).items()}
    process = "" if choice.process is None else str(choice.process)
    kept = {PHASE: choice.phase or "", PROCESS: process}

    def row(name: str, every: str, values: dict[str, str]) -> list[Component]:
        if len(values) < 2:
            return []
        entries = [("", every), *list(values.items())[:MOST_PROCESSES]]
        links = [
            filter_link(
                words,
                view.address(page, tab=tab, **given({**kept, name: value})),
                is_chosen=kept[name] == value,
            )
            for value, words in entries
        ]
        return [html.Div(links, className="filters")]

    return [*row(PHASE, "all phases", phases), *row(PROCESS, "all processes", processes)]


def given(values: dict[str, str]) -> dict[str, str]:
    """Return the values that are not empty."""
    return {name: value for name, value in values.items() if value}


def filter_link(words: str, address: str, *, is_chosen: bool) -> Component:
    """Return a link that chooses a phase or a process."""
    css = "pill chosen" if is_chosen else "pill"
    return dcc.Link(words, href=address, className=css)
