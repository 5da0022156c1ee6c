"""Small traces of the PyTorch profiler, written as files."""

import gzip
import json
from pathlib import Path
from typing import Any

HOSTILE = "<script>alert(1)</script>\"'&"


def events(steps: int = 6) -> list[dict[str, Any]]:
    """Return steps of 1 ms on one thread, whose operators each launch a kernel of 0.3 ms."""
    made: list[dict[str, Any]] = []
    for step in range(steps):
        ts = 1000.0 * step
        host = {"ph": "X", "pid": 7, "tid": 7}
        made.append(
            {
                **host,
                "cat": "user_annotation",
                "name": f"ProfilerStep#{step}",
                "ts": ts,
                "dur": 990.0,
            }
        )
        made.append(
            {
                **host,
                "cat": "cpu_op",
                "name": HOSTILE,
                "ts": ts + 10,
                "dur": 200.0,
                "args": {"External id": step},
            }
        )
        launch = {"correlation": step + 1, "External id": step}
        made.append(
            {
                **host,
                "cat": "cuda_runtime",
                "name": "cudaLaunchKernel",
                "ts": ts + 50,
                "dur": 20.0,
                "args": launch,
            }
        )
        ran = {**launch, "device": 0, "stream": 7, "grid": [1, 1, 1], "block": [128, 1, 1]}
        made.append(
            {
                "ph": "X",
                "cat": "kernel",
                "pid": 0,
                "tid": 7,
                "name": HOSTILE,
                "ts": ts + 100,
                "dur": 300.0,
                "args": ran,
            }
        )
    return made


def small_trace(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """Write a trace; packed where its name says so."""
    device = {"id": 0, "name": HOSTILE, "totalGlobalMem": 80 << 30, "numSms": 108}
    whole = {
        "schemaVersion": 1,
        "deviceProperties": [device],
        "traceEvents": events() if rows is None else rows,
    }
    data = json.dumps(whole).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
