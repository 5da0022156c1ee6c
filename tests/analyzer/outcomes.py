"""The outcome of one rule on a trace, for tests that expect a particular one."""

from types import ModuleType

from perfscope.analyzer.check_findings import outcome
from perfscope.analyzer.diagnosis import Clear, Finding, NotChecked
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.trace import Trace


def found(module: ModuleType, trace: Trace) -> Finding:
    """Return the finding of the module's rule."""
    result = outcome(module.RULE, trace, LIMITS)
    assert isinstance(result, Finding), result
    return result


def not_checked(module: ModuleType, trace: Trace) -> NotChecked:
    """Return why the module's rule could not be checked."""
    result = outcome(module.RULE, trace, LIMITS)
    assert isinstance(result, NotChecked), result
    return result


def is_clear(module: ModuleType, trace: Trace) -> bool:
    """Return whether the module's rule was checked and found nothing."""
    return outcome(module.RULE, trace, LIMITS) == Clear(module.RULE.id)
