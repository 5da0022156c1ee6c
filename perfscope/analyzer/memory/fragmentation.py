"""The allocator holds much more device memory than tensors use: free pieces that fit nothing.

What it means
    Blocks of many different sizes leave holes. PyTorch keeps them, cannot use them for larger
    tensors, and asks for more: out of memory with memory to spare.

How it is detected
    At the moment of the most tensors in use, what the allocator holds is at least twice that
    (TraceML's ratio) and at least 1 GiB more. Needs memory events (`profile_memory=True`).

What to do
    `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`; pad or bucket input lengths so that sizes
    repeat.

When it is wrong
    Memory that an earlier, larger phase left behind (loading, compiling, an evaluation) is held
    too, and free for the next phase: then nothing is fragmented. The trace does not tell the two
    apart.
"""

import numpy as np

from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.memory_use import memory_peaks
from perfscope.analyzer.number_text import digits, megabytes
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "fragmentation"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs memory events of a device."""
    return None if len(trace.fact(memory_peaks)) else "no memory event of a device is in the trace"


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The device on which most is held and not used at the peak of use; it loses no time yet."""
    peaks = trace.fact(memory_peaks)
    spare = peaks["held_at_use"] - peaks["used_bytes"]
    apart = (peaks["held_at_use"] >= limits.held_to_used * peaks["used_bytes"]) & (
        spare >= limits.spare_bytes
    )
    if not apart.any():
        return None
    row = peaks.iloc[int(np.argmax(np.where(apart, spare, -1)))]
    held, used = float(row["held_at_use"]), float(row["used_bytes"])
    return Finding(
        id=ID,
        cause=None,
        severity="info",
        rank=int(row["rank"]),
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=(
            f"Fragmentation: the allocator holds {digits(held / max(used, 1.0))} times the memory"
            " that tensors use"
        ),
        explanation=f"When tensors use most ({megabytes(used)}), it holds {megabytes(held)}.",
        caveat="A device with more memory would only hide it.",
        evidence=[
            Evidence(
                text=f"{megabytes(held - used)} held and not used at the peak of use",
                value=round((held - used) / 1e9, 3),
                unit="GB",
                start_ns=int(row["used_ts"]),
                end_ns=int(row["used_ts"]),
                rank=int(row["rank"]),
                process=int(row["process"]),
                lane="memory",
                device=int(row["device"]),
            )
        ],
        actions=[
            Action(
                "let segments of memory grow in place",
                "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
            ),
            Action("or make sizes repeat: pad or bucket inputs by length"),
        ],
    )


RULE = Rule(ID, not_applicable, detect, needs=("memory",))
