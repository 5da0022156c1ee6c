"""Classifies the names of calls, kernels and copies of all vendors, for the readers of profiler
traces.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANK_IN_NAME = re.compile(r"rank[-_ ]?([0-9]{1,9})", re.I)
"""The rank in the name of a file, such as `rank3.json`."""


@dataclass(frozen=True)
class InOrder:
    """A pattern of two words in lower case, the second anywhere after the first.

    The regular expression `A.*B` would take quadratic time.
    """

    first: str
    second: str

    def search(self, text: str) -> bool:
        """Return whether the text holds both words, in upper or lower case."""
        text = text.lower()
        at = text.find(self.first)
        return at >= 0 and text.find(self.second, at + len(self.first)) >= 0


Patterns = Sequence[tuple[str, re.Pattern[str] | InOrder]]
LAUNCH_KINDS: Patterns = (
    ("graph", re.compile(r"GraphLaunch")),
    ("memset", re.compile(r"Memset", re.I)),
    ("copy", re.compile(r"Memcpy|^Dma|_copy", re.I)),
    ("kernel", re.compile(r"Launch|runExecutable", re.I)),
    ("kernel", InOrder("enqueue", "kernel")),
    ("sync", re.compile(r"(Device|Stream|Event|Ctx|Thread)Synchronize|^synchronize", re.I)),
    (
        "memory",
        re.compile(
            r"Malloc|MemAlloc|Free|HostAlloc|HostRegister|Mem(Map|Create|Release|AddressReserve)",
            re.I,
        ),
    ),
)
"""Of calls of the CUDA runtime and driver, HIP calls and MTIA commands. The first match counts; a
name without a match is `other`.
"""

# Libraries: NCCL and RCCL, MSCCL and MSCCL++, oneCCL, HCCL, NVSHMEM and rocSHMEM, DeepEP,
# Transformer Engine's user buffers; vLLM's, SGLang's and AITER's own all-reduce
# (cross_device_reduce), vLLM's for ROCm (quick_reduce).
COMMUNICATION = re.compile(
    r"nccl|rccl|msccl|oneccl|hccl|nvshmem|rocshmem|(?<![a-z])deep_?ep(?![a-z])|userbuffers_|cross_device_reduce|quick_?reduce",
    re.I,
)
# Names of kernels outside these libraries: torch's symmetric memory (multimem_all_reduce,
# one_shot_all_reduce), TensorRT-LLM's and FlashInfer's all-reduce. A reduction over a warp or a
# block is not a collective.
COLLECTIVE = re.compile(
    r"(?<!warp)(?<!block)(?<!warp_)(?<!block_)all_?reduce|all_?gather|reduce_?scatter|all_?to_?all",
    re.I,
)
# A fused kernel of a compiler is named after the operators around it; CUB reduces within a device.
FUSED = re.compile(r"^triton_|\bcub::|^_ZN3cub", re.I)

COLLECTIVE_KINDS: Patterns = (
    ("all_reduce", re.compile(r"all_?reduce|cross_device_reduce|shot_all_reduce", re.I)),
    ("reduce_scatter", re.compile(r"reduce_?scatter", re.I)),
    ("all_gather", re.compile(r"all_?gather", re.I)),
    ("all_to_all", re.compile(r"all_?to_?all", re.I)),
    ("broadcast", re.compile(r"broadcast", re.I)),
    ("reduce", re.compile(r"reduce", re.I)),
    ("send_recv", InOrder("send", "recv")),
    ("send_recv", InOrder("recv", "send")),
    ("send", re.compile(r"send", re.I)),
    ("recv", re.compile(r"recv", re.I)),
    ("gather", re.compile(r"gather", re.I)),
    ("scatter", re.compile(r"scatter", re.I)),
    ("barrier", re.compile(r"barrier", re.I)),
)

DIRECTIONS: Patterns = (
    ("memset", re.compile(r"memset", re.I)),
    ("h2d", re.compile(r"H(ost)?_?(to|2)_?D|host_to_device", re.I)),
    ("d2h", re.compile(r"D(evice)?_?(to|2)_?H|device_to_host", re.I)),
    ("p2p", re.compile(r"P(eer)?(to|2)P|peer", re.I)),
    ("d2d", re.compile(r"D(evice)?_?(to|2)_?D|device_to_device", re.I)),
)

LOADER_WAIT = re.compile(r"^enumerate\(DataLoader\)#(.*)\.__next__$")
"""torch's annotation around each wait for a batch of its data loader."""

PROFILER_STEP = re.compile(r"^ProfilerStep\s*#\s*\d+$")
"""The annotation of torch.profiler around each step."""

MARKS_OF_TORCH = ("Optimizer.", "ProfilerStep#", "enumerate(DataLoader)#")
"""The beginnings of annotations that torch makes itself."""

COLLECTIVE_RUNS = ("gloo:", "mpi:")
"""The beginnings of torch's annotations of collectives on the threads of its CPU backends."""

BYTES_OF = {
    "float": 4,
    "float32": 4,
    "int": 4,
    "int32": 4,
    "uint32": 4,
    "double": 8,
    "float64": 8,
    "long": 8,
    "int64": 8,
    "half": 2,
    "float16": 2,
    "bfloat16": 2,
    "short": 2,
    "int8": 1,
    "char": 1,
    "byte": 1,
    "uint8": 1,
    "bool": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "complexfloat": 8,
    "complexdouble": 16,
}
"""Bytes per element, by the names of torch's types in traces, in lower case."""


def path_text(path: "os.PathLike[str] | str") -> str:
    """Return a path as valid UTF-8 text; a byte that is not UTF-8 becomes `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def first_match(patterns: Patterns, otherwise: str) -> Callable[[str], str]:
    """Return a function that returns the name of the first pattern that a text contains."""

    def classify(text: str) -> str:
        return next((name for name, pattern in patterns if pattern.search(text)), otherwise)

    return classify


launch_kind = first_match(LAUNCH_KINDS, "other")
collective_kind = first_match(COLLECTIVE_KINDS, "other")
copy_direction = first_match(DIRECTIONS, "d2d")


def kernel_kind(name: str) -> str:
    """Return whether a kernel is `compute` or `communication`."""
    without_template = name.removeprefix("void ").partition("<")[0]
    function = without_template.replace("(anonymous namespace)", "").partition("(")[0]
    is_collective = COLLECTIVE.search(function) and not FUSED.search(function)
    return "communication" if COMMUNICATION.search(name) or is_collective else "compute"


def classify_names(
    codes: NDArray[np.int32], names: Sequence[str], classify: Callable[[str], str]
) -> tuple[NDArray[np.int32], list[str]]:
    """Return a column of names as codes of their classes, and the classes; -1 stays -1."""
    class_of_name = [classify(name) for name in names]
    classes = list(dict.fromkeys(class_of_name))
    code_of_class = {name: code for code, name in enumerate(classes)}
    new_codes = np.array([*(code_of_class[name] for name in class_of_name), -1], np.int32)
    return new_codes[codes], classes
