"""The rows of a soak, in a JSON-lines file from which a stopped soak continues, and their
summary.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.safety.soak.cycle import Outcome

MOST_SLOWER = 0.01
BLOCK = 10
DRAWS = 4000
ENOUGH_KILLS, ENOUGH_FIRST = 0.25, 1 / 3
"""Shares of all cycles: ended by a kill; the first attach to a process with a window."""


class Results:
    """The file of one soak; a later row of a cycle replaces an earlier one."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.seed = path, seed
        self.lock = threading.Lock()
        self.closed = False
        self.rows: dict[int, dict[str, Any]] = {}
        for line in path.read_text().split("\n") if path.exists() else ():
            if line.endswith("}") and (row := json.loads(line)).get("seed") == seed:
                self.rows[row["cycle"]] = row

    def add(self, outcome: Outcome) -> None:
        """Append one row, unless the soak is being stopped, which ends its targets."""
        row = {"seed": self.seed, **asdict(outcome)}
        with self.lock:
            if self.closed:
                return
            self.rows[outcome.cycle] = row
            with open(self.path, "a") as file:
                file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Accept no further rows."""
        with self.lock:
            self.closed = True


def killed(row: dict[str, Any]) -> bool:
    """Return whether a process of perfscope was killed in this cycle."""
    return row["hit"] is not None and not row["hit"].startswith("missed")


def percentiles(values: Sequence[float], unit: str = "ms") -> str:
    """Return the median, the 99th percentile and the maximum of the values as text."""
    if not values:
        return "none"
    p50, p99 = np.percentile(values, [50, 99])
    return f"p50 {p50:.2f}, p99 {p99:.2f}, max {max(values):.2f} {unit} ({len(values)})"


def interval(
    values: Sequence[float], statistic: Callable[[Any], float], block: int = BLOCK
) -> tuple[float, float, float]:
    """Return (statistic, low, high): 95 % by a block bootstrap over cycles in order."""
    data = np.asarray(values, dtype=float)
    random = np.random.default_rng(1)
    count = max(len(data) // block, 1)
    blocks = np.array_split(data, count)
    drawn = [
        statistic(np.concatenate([blocks[at] for at in random.integers(0, count, count)]))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return statistic(data), float(low), float(high)


def geometric_mean(ratios: Any) -> float:
    """Return the mean of ratios, in which 2 and 1/2 cancel."""
    return float(np.exp(np.mean(np.log(ratios))))


def by_program(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return one line per program: cycles, kills, first windows, harm, throughput."""
    counted = f"{'cycles':>7}{'kills':>7}{'first windows':>15}{'harmed':>8}"
    lines = [f"{'program':<16}{counted}{'after/before':>14}"]
    rows = list(rows)
    for name in dict.fromkeys(row["program"] for row in rows):
        cycles = [row for row in rows if row["program"] == name]
        ratios = [
            row["after_hz"] / row["before_hz"]
            for row in cycles
            if row["after_hz"] and row["before_hz"]
        ]
        ratio = f"{geometric_mean(ratios):.3f}" if ratios else "-"
        windows = sum(row["window"] and row["attach"] == 0 for row in cycles)
        harmed = sum(bool(row["harmed"]) for row in cycles)
        kills = sum(map(killed, cycles))
        counted = f"{len(cycles):>7}{kills:>7}{windows:>15}{harmed:>8}"
        lines.append(f"{name:<16}{counted}{ratio:>14}")
    return lines


def summary(rows: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    """Return (all numbers as text, whether all promises were kept)."""
    if not rows:
        return "no cycles", False
    harmed = [row for row in rows if row["harmed"]]
    kills = Counter(f"{row['hit']} in {row['kill']['phase']}" for row in rows if killed(row))
    ratios = [
        row["after_hz"] / row["before_hz"] for row in rows if row["after_hz"] and row["before_hz"]
    ]
    first = sum(row["window"] and row["attach"] == 0 for row in rows)
    levels = Counter(str(row["level"]) for row in rows if row["attach"] == 0 and not killed(row))
    reasons = Counter(
        str(row["why_no_window"])
        for row in rows
        if row["attach"] == 0 and not killed(row) and not row["window"]
    )
    lines = [
        (
            f"{len(rows)} cycles, {sum(kills.values())} ended by a kill, {first} first attaches"
            f" with a window, {sum(row['steps'] for row in rows)} steps compared; harmed:"
            f" {len(harmed)}"
        ),
        *by_program(rows),
        "kills: " + ", ".join(f"{count} x {name}" for name, count in kills.most_common()),
        "main thread stopped: " + percentiles([stop for row in rows for stop in row["stopped_ms"]]),
        "ending a window held up a step: "
        + percentiles([row["stall_ms"] for row in rows if row["stall_ms"]]),
        "longest step while attached: "
        + percentiles([row["longest_step_ms"] or 0.0 for row in rows]),
        "longest step in the 2 s before: "
        + percentiles([row["longest_step_before_ms"] or 0.0 for row in rows]),
        "state as before after: "
        + percentiles([row["settled_s"] for row in rows if row["settled_s"] is not None], "s"),
        f"level of first attaches without a kill: {dict(levels)}; no window: {dict(reasons)}",
    ]
    slow = False
    if len(ratios) >= 2:
        ratio, low, high = interval(ratios, geometric_mean)
        slow = high < 1 - MOST_SLOWER
        lines.append(
            f"throughput after / before: {ratio:.4f} ({low:.4f} .. {high:.4f}), block bootstrap"
            " over cycles"
        )
    notes = Counter(note[:160] for row in rows for note in row["notes"])
    lines += [f"note, {count} x: {note}" for note, count in notes.most_common(12)]
    lines += [
        f"HARMED cycle {row['cycle']} {row['program']} attach {row['attach']} {row['hit']}"
        f" {row['kill']}: {text}"
        for row in harmed
        for text in row["harmed"]
    ]
    return "\n".join(lines), not harmed and not slow
