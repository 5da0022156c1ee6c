"""Parts of a diagnosis, by id."""

from perfscope.analyzer.diagnosis import Diagnosis, Finding


def find_finding(diagnosis: Diagnosis, id: str) -> Finding:
    """Return the finding with this id."""
    return next(finding for finding in diagnosis.findings if finding.id == id)


def why_not_checked(diagnosis: Diagnosis, id: str) -> str:
    """Return the reason why the finding with this id was not checked."""
    return next(entry.reason for entry in diagnosis.not_checked if entry.id == id)
