"""Which findings others explain: `consequences` of a rule names them, by id or as `id/cause`."""

import msgspec

from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.findings import FINDINGS, RULES
from perfscope.analyzer.limits import Limits


def unexplained_findings(findings: list[Finding], limits: Limits) -> list[Finding]:
    """Return the findings of which no more particular finding explains most of the loss."""
    return [finding for finding in findings if not explanations(finding, findings, limits)]


def explanations(finding: Finding, findings: list[Finding], limits: Limits) -> list[Finding]:
    """Return the findings that explain most of the loss of another."""
    names = (finding.id, f"{finding.id}/{finding.cause}")
    explaining = {rule.id for rule in FINDINGS if set(names) & set(rule.consequences)}
    least_s = limits.main_cause_share * finding.lost_s
    return [
        other
        for other in findings
        if other.id in explaining and (0.0 < other.lost_s >= least_s or outranks_others(other))
    ]


def outranks_others(finding: Finding) -> bool:
    """Return whether nothing else matters once this has happened."""
    return finding.severity == "critical" and RULES[finding.id].outranks_others_if_critical


def with_advice_on_causes(findings: list[Finding], limits: Limits) -> list[Finding]:
    """Return the findings without advice that would only treat what another finding explains."""
    replacing = [finding for finding in findings if RULES[finding.id].replaces_advice]
    return [
        msgspec.structs.replace(finding, actions=[])
        if explanations(finding, replacing, limits)
        else finding
        for finding in findings
    ]
