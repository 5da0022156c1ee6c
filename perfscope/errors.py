"""The errors a user may see; each is one line that says what to do.

PerfscopeError          exit code 1: the work failed
├── UsageError          exit code 2: bad usage or unreadable input
│   └── UnreadableRun   a run folder that cannot be read (newer schema, not a run, damaged)
├── CannotEnter         the target cannot be entered; `observe` may still work
└── CollectorUnavailable  a source cannot be had here; a normal answer, recorded with its reason
    └── NothingToCollect  there is nothing of the kind here: not even recorded
"""


class PerfscopeError(Exception):
    """Base of all: the message is the line that the user reads."""

    exit_code = 1


class UsageError(PerfscopeError):
    """The command line or its input is wrong."""

    exit_code = 2


class UnreadableRun(UsageError):
    """The run folder cannot be read."""


class CannotEnter(PerfscopeError):
    """The target process cannot be entered; says why and the exact fix."""


class CollectorUnavailable(PerfscopeError):
    """A source of evidence is not available here; says why."""


class NothingToCollect(CollectorUnavailable):
    """This host has nothing of the kind; nothing is reported."""


IMPORT_FAILURES = (
    *(
        ImportError,
        SyntaxError,
        AttributeError,
        NameError,
        TypeError,
        ValueError,
        LookupError,
        OSError,
        RuntimeError,
    ),
)
"""What importing an optional library raises that is absent, damaged, half installed, or another one
of the same name.
"""
