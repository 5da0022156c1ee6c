"""Traces of the PyTorch profiler (JSON written by Kineto), compressed or not."""

from perfscope.traces.kineto.trace_file import is_trace_file, read_trace
from perfscope.traces.reader import Reader

READER = Reader(
    name="kineto",
    formats="traces of the PyTorch profiler (.json, .json.gz, .json.zst)",
    sniff=is_trace_file,
    read=read_trace,
)
