"""perfscope: find out what limits a PyTorch process, what that costs, and how to fix it.

Public names: `profile`, `step`, `request`, `load` and `diagnose` (docs/stability.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.profiling.marks import step
    from perfscope.profiling.recorded_run import diagnose, load
    from perfscope.profiling.request_marks import request
    from perfscope.profiling.scope import profile

__version__ = "0.1.0"

__all__ = ["__version__", "diagnose", "load", "profile", "request", "step"]

MODULES = {
    "diagnose": "perfscope.profiling.recorded_run",
    "load": "perfscope.profiling.recorded_run",
    "profile": "perfscope.profiling.scope",
    "request": "perfscope.profiling.request_marks",
    "step": "perfscope.profiling.marks",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import perfscope` stays fast."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
