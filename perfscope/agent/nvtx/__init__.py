"""NVTX without Nsight: a C library that any process with NVTX loads by itself
(NVTX_INJECTION64_PATH), and where it lies.
"""

from importlib.resources import files
from pathlib import Path

ADDRESS_VARIABLE = "PERFSCOPE_NVTX"
PATH_VARIABLE = "NVTX_INJECTION64_PATH"


def library() -> Path | None:
    """The built library; None where the package was installed without a compiler."""
    found = sorted(Path(str(files(__name__))).glob("injection*.so"))
    return found[0] if found else None
