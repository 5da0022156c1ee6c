"""Which event of a Kineto trace goes into which table, in all dialects since 2021 (names changed
between versions).
"""

from typing import Any, Final

KERNELS: Final = "kernels"
COPIES: Final = "copies"
OPS: Final = "ops"
LAUNCHES: Final = "launches"
RANGES: Final = "ranges"
MEMORY: Final = "memory"
META: Final = "meta"

COMPLETE: Final[dict[Any, str]] = {
    "cpu_op": OPS,
    "Operator": OPS,
    "kernel": KERNELS,
    "Kernel": KERNELS,
    "mtia_ccp_events": KERNELS,
    "privateuse1_kernel": KERNELS,
    "xpu_kernel": KERNELS,
    "gpu_memcpy": COPIES,
    "Memcpy": COPIES,
    "gpu_memset": COPIES,
    "Memset": COPIES,
    "cuda_runtime": LAUNCHES,
    "Runtime": LAUNCHES,
    "cuda_driver": LAUNCHES,
    "hip_runtime": LAUNCHES,
    "hip_driver": LAUNCHES,
    "mtia_runtime": LAUNCHES,
    "xpu_runtime": LAUNCHES,
    "privateuse1_runtime": LAUNCHES,
    "privateuse1_driver": LAUNCHES,
    "user_annotation": RANGES,
    "python_function": RANGES,
    "overhead": RANGES,
}
"""By category of events with a duration (`ph` X); the others say nothing that is not said
elsewhere.
"""
MEMORY_NAME: Final = "[memory]"


def group_of(phase: Any, category: Any, name: Any) -> str | None:
    """The group of an event, None when it is not read."""
    if phase == "X":
        return COMPLETE.get(category) if isinstance(category, str) else None
    if phase == "i":
        return MEMORY if name == MEMORY_NAME else None
    return META if phase == "M" else None
