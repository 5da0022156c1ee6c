"""The user's documentation of a finding or a cause."""

import inspect

from perfscope.analyzer.findings import RULES
from perfscope.analyzer.input.causes import CAUSES
from perfscope.errors import UsageError


def explain(finding_id: str) -> str:
    """Return the text for a finding's id, or for a cause (`input-bound/CAUSE` or CAUSE).

    The text for a cause begins with the cause's own lines. Raises UsageError that names all ids.
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
    """Return the ids of all findings, in order."""
    return list(RULES)
