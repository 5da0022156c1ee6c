"""The errors that a user may see; the message says what failed and how to fix it.

PerfscopeError          exit code 1: the work failed
├── UsageError          exit code 2: bad usage or unreadable input
│   └── UnreadableRun   a run folder or trace that cannot be read (damaged, newer, other format)
├── CannotEnter         the target cannot be entered; `observe` may still work
└── CollectorUnavailable  a source is not available; normal, recorded with its reason
    └── NothingToCollect  the host has no such device or source; it is left out of the report
"""


class PerfscopeError(Exception):
    """The base class; the message is what the user reads."""

    exit_code = 1


class UsageError(PerfscopeError):
    """The command line or its input is wrong."""

    exit_code = 2


class UnreadableRun(UsageError):
    """The run folder or trace cannot be read."""


class CannotEnter(PerfscopeError):
    """The target process cannot be entered; says why and the exact fix."""


class CollectorUnavailable(PerfscopeError):
    """A source of evidence is not available here; says why."""


class NothingToCollect(CollectorUnavailable):
    """The host has no such device or source; it is left out of the report."""


IMPORT_FAILURES = (
    ImportError,
    SyntaxError,
    AttributeError,
    NameError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
    RuntimeError,
)
"""The exceptions that importing an optional library raises if it is absent, damaged, partly
installed, or another package of the same name.
"""
