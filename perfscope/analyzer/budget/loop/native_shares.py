"""Whose machine code the thread of a loop runs, from samples of the kernel: shares of CPU time."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.budget.loop.loop_samples import LoopSamples, loop_samples, rows_of_loop
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

INTERPRETER: Final = re.compile(r"^(lib)?python[\d.]*[a-z]*(\.so[\d.]*)?$")
TORCH_LIBRARIES: Final = re.compile(
    r"^(libtorch\w*|libc10\w*|libmkl\w*|libdnnl|libgomp|libiomp5|libomp|libopenblas\w*"
    r"|libarm_compute|libnccl|libcu\w+|libnv\w+|_C)[-.\w]*\.so"
)
SYSTEM: Final = re.compile(r"^(\[kernel\]|\[vdso\]|\[unknown\]|libc|libm|libpthread|libstdc|ld-)")


@dataclass(frozen=True)
class NativeShares:
    """Shares of the thread's CPU time in its loop, 0 to 1.

    `system` is in the kernel and the C library, `others` in further libraries. `cpu_s` is the CPU
    time that the samples stand for.
    """

    samples: int
    cpu_s: float
    interpreter: float
    torch: float
    system: float
    others: float
    largest_library: str
    """The library, neither the interpreter nor the system's, with the most time; "" for none."""


def native_shares(trace: Trace) -> dict[int, NativeShares]:
    """Return the shares by process, without those with too few samples."""
    found = {}
    for process, samples in trace.fact(loop_samples).items():
        shares = shares_of_loop(trace, samples)
        if shares is not None:
            found[process] = shares
    return found


def shares_of_loop(trace: Trace, samples: LoopSamples) -> NativeShares | None:
    """Return the shares of one loop, None with too few samples."""
    rows = rows_of_loop(trace, "native_samples", samples)
    if rows is None:
        return None
    rows = rows[inside(samples.spans, column(rows, "ts"))]
    if len(rows) < FEWEST_SAMPLES:
        return None
    by_library = rows.groupby(rows["library"].astype(str))["weight_ns"].sum()
    whole_ns = float(by_library.sum())
    names = [str(name) for name in by_library.index]
    kinds = np.array([kind_of_library(name) for name in names])
    weights = by_library.to_numpy(np.float64)
    named = {
        name: weight
        for name, kind, weight in zip(names, kinds, weights, strict=True)
        if kind in ("torch", "others")
    }
    return NativeShares(
        samples=len(rows),
        cpu_s=whole_ns / 1e9,
        interpreter=float(weights[kinds == "interpreter"].sum()) / whole_ns,
        torch=float(weights[kinds == "torch"].sum()) / whole_ns,
        system=float(weights[kinds == "system"].sum()) / whole_ns,
        others=float(weights[kinds == "others"].sum()) / whole_ns,
        largest_library=max(named, key=lambda name: named[name], default=""),
    )


def kind_of_library(name: str) -> str:
    """Return whose code a library is."""
    if INTERPRETER.match(name):
        return "interpreter"
    if TORCH_LIBRARIES.match(name):
        return "torch"
    return "system" if SYSTEM.match(name) else "others"
