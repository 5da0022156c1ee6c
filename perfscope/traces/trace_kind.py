"""The two kinds of recording that a Trace can hold. The reader of the file decides which."""

from enum import Enum
from typing import Final


class TraceKind(Enum):
    """The program that recorded a trace, and therefore what its tables can say.

    A reader passes the kind to the `Trace` that it builds. Everything downstream asks
    `Trace.is_profiler_trace` or `Trace.has_profiled_work` and never looks at the file again.
    """

    RECORDING = "recording"
    """A run folder of perfscope: the whole run, with operators and kernels only in short windows
    of torch's profiler.
    """
    PROFILER = "profiler"
    """A file written by torch.profiler or Nsight Systems: every operator, kernel and range of the
    part of the run that was profiled.
    """


PROFILER_DEPTH: Final = "trace"
"""The `depth` in the manifest of a profiler trace, which has no instrumentation level."""
