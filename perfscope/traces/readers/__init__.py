"""Readers of recorded runs and traces: each has `sniff(path) -> bool` and `read(path) -> Trace`;
the first to sniff wins.
"""

from perfscope.traces.readers import kineto, nsys, run

READERS = (run, nsys, kineto)
