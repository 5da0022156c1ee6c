"""Which modules the program has imported. One that is still being imported lacks part of its names:
nothing is judged by it.
"""

import sys
from itertools import accumulate
from typing import Any


def imported(name: str) -> Any:
    """Return the module once the program has imported it and the packages around it to the end,
    else None.
    """
    around = accumulate(name.split("."), "{}.{}".format)
    return None if any(begun(sys.modules.get(one)) for one in around) else sys.modules.get(name)


def begun(module: Any) -> bool:
    """Whether its import is under way: by Python's own mark; a module that no import has made has
    none.
    """
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
