"""Operators recorded by torch's profiler while they run, and texts of operator inputs."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace


def record_work(work: Callable[[], Any]) -> Trace:
    """Return the trace of `work`, with shapes."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as window:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        window.export_chrome_trace(str(path))
        return load_trace(path)


def inputs(
    *tensors: tuple[list[int], str] | None, values: dict[int, Any] | None = None
) -> tuple[str, str, str, str]:
    """Return the columns of `ops` for these inputs: shapes, types, strides and values.

    An input is a shape and a type as torch writes it, or None if it is not a tensor. `values`: the
    values of inputs by their position.
    """
    values = values or {}
    shapes, types, concrete = [], [], []
    for position, tensor in enumerate(tensors):
        shape, type_name = ([], "") if tensor is None else tensor
        is_value = position in values
        shapes.append(shape)
        types.append("Scalar" if is_value else type_name)
        concrete.append(str(values[position]) if is_value else "")
    return json.dumps(shapes), json.dumps(types), "null", json.dumps(concrete)


assert torch.__version__
