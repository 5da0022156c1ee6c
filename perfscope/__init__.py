"""perfscope: point it at a PyTorch process and know what bounds it, what that costs and what to change."""

__version__ = "0.1.0"

__all__ = ["__version__"]
