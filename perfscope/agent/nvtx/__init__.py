"""Recording NVTX without Nsight, by a C library that NVTX loads (NVTX_INJECTION64_PATH)."""

from importlib.resources import files
from pathlib import Path

ADDRESS_VARIABLE = "PERFSCOPE_NVTX"
PATH_VARIABLE = "NVTX_INJECTION64_PATH"


def library() -> Path | None:
    """Return the built library, None if perfscope was installed without a compiler."""
    found = sorted(Path(str(files(__name__))).glob("injection*.so"))
    return found[0] if found else None
