"""Operators recorded by the real profiler while real torch runs them, as the calls that the models
see.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace


def recorded(work: Callable[[], Any]) -> Trace:
    """The trace of `work`, with shapes."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as window:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        window.export_chrome_trace(str(path))
        return load_trace(path)


def inputs(
    *tensors: tuple[list[int], str] | None, values: dict[int, Any] | None = None
) -> tuple[str, str, str, str]:
    """The texts of `ops` for these inputs (shape and type as torch writes it; None: no tensor),
    values by place.
    """
    said = values or {}
    shapes = [[] if one is None else one[0] for one in tensors]
    types = [
        "Scalar" if at in said else "" if one is None else one[1] for at, one in enumerate(tensors)
    ]
    concrete = [str(said[at]) if at in said else "" for at in range(len(tensors))]
    return json.dumps(shapes), json.dumps(types), "null", json.dumps(concrete)


assert torch.__version__
