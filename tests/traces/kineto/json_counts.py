"""Counts of rows and times of a trace, from its JSON without the reader and without floats."""

import gzip
import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

KERNEL = {"kernel", "Kernel"}
COPY = {"gpu_memcpy", "gpu_memset", "Memcpy", "Memset"}
OP = {"cpu_op", "Operator"}
LAUNCH = {"cuda_runtime", "cuda_driver", "mtia_runtime", "Runtime"}
RANGE = {"user_annotation", "python_function", "overhead"}


@dataclass
class Plain:
    """Rows of each table, and the sums of begins (from the first event) and durations, in ns."""

    rows: Counter[str] = field(default_factory=Counter)
    ts_ns: Counter[str] = field(default_factory=Counter)
    dur_ns: Counter[str] = field(default_factory=Counter)
    first_ns: int = 0
    names: dict[str, Counter[str]] = field(default_factory=dict)


def table_of(event: dict[str, Any]) -> str | None:
    """Return the table that an event belongs to."""
    category, name = event.get("cat"), str(event.get("name"))
    if event.get("ph") == "i":
        return "memory" if name == "[memory]" and event["args"]["Device Type"] != 0 else None
    if event.get("ph") != "X":
        return None
    if "DataLoader" in name and name.endswith("__next__") and category in OP | {"user_annotation"}:
        return "loader"
    if category == "mtia_ccp_events":
        return {"dma_request": "copies", "event_record": None, "event_wait": None}.get(
            name, "kernels"
        )
    if category == "mtia_runtime" and name == "synchronize":
        return None  # on the device's own row: the host's `synchronizeStream` once more
    for table, categories in {
        "kernels": KERNEL,
        "copies": COPY,
        "ops": OP,
        "launches": LAUNCH,
        "ranges": RANGE,
    }.items():
        if category in categories:
            return table
    return None


def ns(us: Any) -> int:
    return int((Decimal(str(us)) * 1000).to_integral_value())


def count_events(path: Path) -> Plain:
    """Return the counts of a file."""
    events = json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)
    events = events["traceEvents"] if isinstance(events, dict) else events
    rows = [(table, event) for event in events if (table := table_of(event)) is not None]
    found = Plain(first_ns=min(ns(event["ts"]) for _, event in rows))
    for table, event in rows:
        found.rows[table] += 1
        found.ts_ns[table] += ns(event["ts"]) - found.first_ns
        found.dur_ns[table] += ns(event.get("dur") or 0)
        found.names.setdefault(table, Counter())[str(event.get("name"))] += 1
    return found
