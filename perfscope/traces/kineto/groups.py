"""The group that each event of a Kineto trace belongs to, for all dialects since 2021: the names of
categories changed between versions.
"""

from typing import Any, Final

KERNELS: Final = "kernels"
COPIES: Final = "copies"
OPS: Final = "ops"
LAUNCHES: Final = "launches"
RANGES: Final = "ranges"
MEMORY: Final = "memory"
META: Final = "meta"

GROUP_OF_CATEGORY: Final[dict[Any, str]] = {
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
"""For events with a duration (`ph` X). Other categories repeat what these contain."""
MEMORY_NAME: Final = "[memory]"


def group_of_event(phase: Any, category: Any, name: Any) -> str | None:
    """Return the group of an event, None for an event that is not read."""
    if phase == "X":
        return GROUP_OF_CATEGORY.get(category) if isinstance(category, str) else None
    if phase == "i":
        return MEMORY if name == MEMORY_NAME else None
    return META if phase == "M" else None
