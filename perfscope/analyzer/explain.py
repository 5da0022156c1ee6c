"""The user's documentation of a finding: its module's docstring."""

import inspect

from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from perfscope.errors import UsageError

HEADINGS = ("What it means", "How it is detected", "What to do", "When it is wrong")


def explain(finding_id: str) -> str:
    """The text for a finding's id, or for `input-bound/CAUSE` (also CAUSE alone) with the cause's own line on top.

    Raises UsageError naming the ids there are.
    """
    wanted = finding_id.strip().removeprefix("input-bound/")
    for module in FINDINGS:
        if wanted == module.ID:
            return inspect.cleandoc(module.__doc__ or "")
        if module.ID == "input-bound":
            whole = inspect.cleandoc(module.__doc__ or "")
    for cause in CAUSES:
        if wanted == cause.CAUSE:
            return f"{wanted}: {inspect.cleandoc(cause.__doc__ or '')}\n\nA cause of input-bound. {whole}"
    raise UsageError(f"no finding {finding_id!r}; there are: {', '.join(ids())}")


def ids() -> list[str]:
    """The ids of all findings, in order."""
    return [module.ID for module in FINDINGS]
