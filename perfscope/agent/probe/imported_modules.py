"""Whether the program has imported a module completely.

A module whose import is still under way lacks some of its names, so nothing is decided from it.
"""

import sys
from itertools import accumulate
from typing import Any


def imported(name: str) -> Any:
    """Return the module if it and its parent packages are imported completely, else None."""
    names = accumulate(name.split("."), "{}.{}".format)
    if any(is_being_imported(sys.modules.get(known)) for known in names):
        return None
    return sys.modules.get(name)


def is_being_imported(module: Any) -> bool:
    """Return whether Python marks the import of `module` as under way."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
