"""The user's documentation of a finding or a cause."""

import inspect
import textwrap
from types import ModuleType

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.input.causes import CAUSES
from perfscope.analyzer.verdict.general_answers import GENERAL
from perfscope.errors import UsageError

ACTION_COLUMNS = 100
LAST_HEADING = "When it is wrong"
MORE_ON_GENERAL = (
    "A general answer says what takes the loop's time where no finding explains it; it"
    " names the program's line and gives no advice."
)
MORE_ON_INPUT_BOUND = "`perfscope explain input-bound` describes the finding itself."


def explain(finding_id: str) -> str:
    """Return the text for a finding's id, or for a cause (`input-bound/CAUSE` or CAUSE).

    Raises UsageError that names all ids.
    """
    wanted = finding_id.strip().removeprefix("input-bound/")
    if wanted in RULES:
        return RULES[wanted].documentation
    if wanted in GENERAL:
        text = textwrap.fill(f"{GENERAL[wanted]} {MORE_ON_GENERAL}", ACTION_COLUMNS)
        return f"{wanted}\n\n{text}"
    for cause in CAUSES:
        if wanted == cause.CAUSE:
            text = cause_documentation(cause)
            return f"input-bound/{wanted}\n\n{text}\n\n{MORE_ON_INPUT_BOUND}"
    raise UsageError(f"no finding {finding_id!r}; there are: {', '.join(ids())}")


def cause_documentation(cause: ModuleType) -> str:
    """Return the docstring of a cause, with its actions before "When it is wrong"."""
    text = inspect.cleandoc(cause.__doc__ or "")
    before, heading, after = text.partition(f"{LAST_HEADING}\n")
    actions = "\n".join(action_text(advice) for advice in cause.ADVICE)
    return f"{before}What to do\n{actions}\n\n{heading}{after}"


def action_text(advice: Advice) -> str:
    """Return an action as an item of a list, with the precondition of its recommendation."""
    change = advice.text
    condition = advice.holds_when[:1].lower() + advice.holds_when[1:]
    text = f"{change[:1].upper()}{change[1:]}. Recommended if {condition}"
    return textwrap.fill(
        text,
        ACTION_COLUMNS,
        initial_indent="    - ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )


def ids() -> list[str]:
    """Return the ids of all findings, in order, and of the general answers."""
    return [*RULES, *GENERAL]
