"""perfscope: point it at a PyTorch process and know what bounds it, what that costs and what to
change.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.profiling.scope import profile

__version__ = "0.1.0"

__all__ = ["__version__", "profile"]


def __getattr__(name: str) -> Any:
    """What is asked for is imported then: `import perfscope` itself costs next to nothing."""
    if name == "profile":
        from perfscope.profiling.scope import profile

        return profile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
