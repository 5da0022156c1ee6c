"""The user's documentation of a finding or a cause."""

import inspect

from perfscope.analyzer.findings import RULES
from perfscope.analyzer.input.causes import CAUSES
from perfscope.errors import UsageError


def explain(finding_id: str) -> str:
    """The text for a finding's id, or for `input-bound/CAUSE` (also CAUSE alone) with the cause's
    own line on top.

    Raises UsageError naming the ids there are.
    """
    wanted = finding_id.strip().removeprefix("input-bound/")
    if wanted in RULES:
        return RULES[wanted].documentation
    whole = RULES["input-bound"].documentation
    for cause in CAUSES:
        if wanted == cause.CAUSE:
            return (
                f"{wanted}: {inspect.cleandoc(cause.__doc__ or '')}\n\nA cause of input-bound."
                f" {whole}"
            )
    raise UsageError(f"no finding {finding_id!r}; there are: {', '.join(ids())}")


def ids() -> list[str]:
    """The ids of all findings, in order."""
    return list(RULES)
