"""Where the CPU time of `perfscope analyze` goes: imports, unpacking, parsing, tables, each fact,
each finding, rendering.

    python -m benchmarks.command_profile PATH... [--ranks 128] [--most 12]

PATH is a trace or a folder with the traces of a job. `--ranks` adds a job of that many small ranks.
Every command runs in a process of its own, without the cache. A time is CPU time without that of
the parts called inside, summed over all threads; judge by the shares, because other programs on the
machine change the times.
"""

import argparse
import builtins
import contextlib
import functools
import importlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.make_small_ranks import write_job

UNPACK, PARSE, TABLES, MERGE = "unpacking", "parsing", "tables", "merging ranks"
READ, RENDER, IMPORT, REST = "reading, rest", "rendering", "imports", "rest"
STAGES = (IMPORT, UNPACK, PARSE, TABLES, MERGE, READ, "facts", "findings", RENDER, REST)
MARK = "PROFILE "
WRAPPED = (
    ("perfscope.traces.kineto.file", "parse_piece", PARSE),
    ("perfscope.traces.kineto.tables", "build_trace", TABLES),
    ("perfscope.traces.jobs.job", "merge_parts", MERGE),
    ("perfscope.traces.load", "load_all", READ),
    ("perfscope.traces.jobs.job", "read_path", READ),
    ("perfscope.ui.answer", "print_answer", RENDER),
    ("perfscope.ui.answer", "write_files", RENDER),
)
"""Modules, their functions as they call them, and the part of the command that these are."""


class Clock:
    """CPU time by part of the command. Each thread's time belongs to the part it entered last."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.thread = threading.local()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block for a part."""
        stack = self.thread.__dict__.setdefault("stack", [REST])
        self.switch(stack)
        stack.append(name)
        self.calls[name] += 1
        try:
            yield
        finally:
            self.switch(stack)
            stack.pop()

    def switch(self, stack: list[str]) -> None:
        """Count the time since the last switch for the part that the thread was in."""
        now = time.thread_time()
        self.seconds[stack[-1]] += now - getattr(self.thread, "since", now)
        self.thread.since = now

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return the function, its time counted for a part."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return counted


def count_imports(clock: Clock) -> None:
    """Count the first import of every module, with all that it imports."""
    original = builtins.__import__

    def counted(name: str, *args: Any, **kwargs: Any) -> Any:
        stack = clock.thread.__dict__.get("stack", [REST])
        if stack[-1] == IMPORT:
            return original(name, *args, **kwargs)
        with clock.part(IMPORT):
            return original(name, *args, **kwargs)

    builtins.__import__ = counted


def count_parts(clock: Clock) -> None:
    """Count the parts of the command that `WRAPPED` lists, the unpacking, facts and findings."""
    for module_name, name, part in WRAPPED:
        module = importlib.import_module(module_name)
        setattr(module, name, clock.wrapped(getattr(module, name), part))
    text = importlib.import_module("perfscope.traces.kineto.text").TraceText
    unpacked = text.__iter__

    def blocks(self: Any) -> Iterator[bytes]:
        rest = unpacked(self)
        while True:
            with clock.part(UNPACK):
                block = next(rest, None)
            if block is None:
                return
            yield block

    text.__iter__ = blocks
    count_facts(clock)


def count_facts(clock: Clock) -> None:
    """Count every fact and every finding for itself."""
    trace = importlib.import_module("perfscope.traces.trace").Trace
    fact = trace.fact

    def counted_fact(self: Any, derive: Callable[..., Any]) -> Any:
        if derive in self._facts:
            return fact(self, derive)
        with clock.part(f"fact {derive.__name__}"):
            return fact(self, derive)

    trace.fact = counted_fact
    checks: Any = importlib.import_module("perfscope.analyzer.check_findings")
    outcome = checks.outcome

    def counted_outcome(rule: Any, *args: Any) -> Any:
        with clock.part(f"finding {rule.id}"):
            return outcome(rule, *args)

    checks.outcome = counted_outcome
    diagnose = importlib.import_module("perfscope.analyzer.diagnose")
    for name in ("summarize", "check_findings", "judge", "assemble", "overhead"):
        setattr(diagnose, name, clock.wrapped(getattr(diagnose, name), f"fact in {name}"))


def profile_command(path: str) -> None:
    """Run `perfscope analyze` in this process and print what its parts took."""
    clock = Clock()
    count_imports(clock)
    with clock.part(IMPORT):
        cli = importlib.import_module("perfscope.cli")
        importlib.import_module("perfscope.analyzer.diagnose")
        importlib.import_module("perfscope.traces.kineto.tables")
        importlib.import_module("perfscope.traces.jobs.job")
    count_parts(clock)
    screen = io.StringIO()
    with clock.part(REST), contextlib.redirect_stdout(screen):
        code = cli.main(["analyze", path, "--no-cache"])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "code": code,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "seconds": clock.seconds,
        "calls": clock.calls,
    }
    print(MARK + json.dumps(report))


def stage_of(part: str) -> str:
    """Return the stage that a part belongs to."""
    first = part.split(" ")[0]
    return {"fact": "facts", "finding": "findings"}.get(first, part)


def print_profile(path: str, most: int) -> None:
    """Profile the command on one input in a process of its own, and print the table."""
    command = [sys.executable, "-m", "benchmarks.command_profile", "--inside", path]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    wall_s = time.perf_counter() - begin
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        raise SystemExit(f"{path}: {done.stderr[-500:]}")
    report = json.loads(lines[-1][len(MARK) :])
    seconds = report["seconds"]
    whole_s = report["cpu_s"]
    stages: defaultdict[str, float] = defaultdict(float)
    for part, spent_s in seconds.items():
        stages[stage_of(part)] += spent_s
    stages[REST] += whole_s - sum(seconds.values())
    print(
        f"\n{path}: {whole_s:.2f} s of CPU time, {wall_s:.2f} s in all,"
        f" {report['peak_bytes'] / 1e6:.0f} MB"
    )
    for stage in STAGES:
        print(f"  {stage:<28} {stages[stage]:8.3f} s  {stages[stage] / whole_s:6.1%}")
    single = [(spent_s, part) for part, spent_s in seconds.items() if stage_of(part) != part]
    for spent_s, part in sorted(single, reverse=True)[:most]:
        print(f"    {part:<40} {spent_s:8.3f} s  {report['calls'][part]:5d} x")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--ranks", type=int, default=0, help="also a job of so many small ranks")
    parser.add_argument("--most", type=int, default=12, help="facts and findings to list")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        profile_command(asked.paths[0])
        return
    for path in asked.paths:
        print_profile(path, asked.most)
    if asked.ranks:
        with tempfile.TemporaryDirectory() as folder:
            job = Path(folder) / f"ranks_{asked.ranks}"
            write_job(job, asked.ranks)
            print_profile(str(job), asked.most)


if __name__ == "__main__":
    main()
