"""Work of an engine's processes on the CPU that holds requests up, by the stacks of its threads.

The thread of the engine loop stops every request while it does anything else. Another thread, such
as that of the API server, holds requests up only if it is always busy.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.analyzer.serving.server_load import ServerLoad
from perfscope.traces.trace import Trace

STACK_TABLES: Final = ("outside_stacks", "stacks")
ENGINE_LOOP: Final = re.compile(
    r"\((vllm/v1/engine/core|vllm/engine/llm_engine|sglang/srt/managers/scheduler)\.py"
    r"|;_wrapped_call_impl \(torch/nn/modules/module\.py"
)
"""Frames of the thread that schedules requests and calls the model."""
GRAMMARS: Final = "grammars of structured output"
INPUTS: Final = "images, video or audio"
TOKENS: Final = "the tokenizer"
COMPILERS: Final = "a compiler"
KINDS: Final = (
    (
        COMPILERS,
        re.compile(
            r"compile \(triton/compiler/compiler\.py|\(torch/_dynamo/convert_frame\.py"
            r"|\(torch/_inductor/compile_fx\.py|\(torch/utils/cpp_extension\.py"
            r"|\(flashinfer/jit/core\.py"
        ),
    ),
    (
        GRAMMARS,
        re.compile(
            r"\((xgrammar|outlines|outlines_core|llguidance|lmformatenforcer|interegular|guidance)/"
        ),
    ),
    (
        INPUTS,
        re.compile(
            r"\((PIL|cv2|librosa|soundfile|decord|av|torchvision/transforms|torchcodec)/"
            r"|\((vllm|sglang/srt)/multimodal/"
            r"|\(transformers/\S*(image|video|audio)_(processing|transforms)\S*\.py"
            r"|\(transformers/\S*feature_extraction\S*\.py"
        ),
    ),
    (TOKENS, re.compile(r"\((tokenizers|tiktoken|sentencepiece)/|\(transformers/tokenization_")),
)
"""What the packages that engines use for it do; the first that fits a stack counts."""


@dataclass(frozen=True)
class HostWork:
    """Work of a thread: its kind, its share of the thread's samples, and the innermost frame."""

    process: int
    tid: int
    kind: str
    share: float
    is_engine_loop: bool
    frame: str

    def is_limiting(self, limits: Limits) -> bool:
        """Return whether it holds requests up."""
        return self.share >= (limits.critical_share if self.is_engine_loop else limits.busy_share)


def engine_host_work(trace: Trace, load: ServerLoad) -> list[HostWork]:
    """Return what the threads of a recorded engine do on the CPU while it has requests."""
    processes = table(trace, "processes")
    if load.samples.process < 0 or processes is None:
        return []
    found = []
    for process in column(processes, "process").tolist():
        tables = (rows_of(trace, name, process) for name in STACK_TABLES)
        stacks = next((rows for rows in tables if rows is not None and len(rows)), None)
        if stacks is not None:
            found += work_of_threads(stacks[is_used_at(load, column(stacks, "ts"))], process)
    return found


def is_used_at(load: ServerLoad, ts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether the server had requests at each instant, by the reading before it."""
    requests = np.nan_to_num(load.running) + np.nan_to_num(load.waiting)
    at = np.searchsorted(load.samples.times_ns, ts, side="right") - 1
    is_used: NDArray[np.bool_] = requests[np.maximum(at, 0)] > 0
    return is_used


def work_of_threads(stacks: pd.DataFrame, process: int) -> list[HostWork]:
    """Return the work of each thread of a process, of each kind."""
    found = []
    for tid in np.unique(column(stacks, "tid")).tolist():
        texts = stacks["stack"][column(stacks, "tid") == tid].astype(str).tolist()
        if len(texts) < FEWEST_SAMPLES:
            continue
        is_loop = any(ENGINE_LOOP.search(text) for text in texts)
        kinds: dict[str, list[str]] = {}
        for text in texts:
            kind = kind_of_work(text)
            if kind is not None:
                kinds.setdefault(kind, []).append(text.rsplit(";", 1)[-1])
        for kind, frames in kinds.items():
            frame = Counter(frames).most_common(1)[0][0]
            share = len(frames) / len(texts)
            found.append(HostWork(process, tid, kind, share, is_loop, frame))
    return found


def kind_of_work(stack: str) -> str | None:
    """Return what a stack works on, None for anything else."""
    return next((kind for kind, pattern in KINDS if pattern.search(stack)), None)
