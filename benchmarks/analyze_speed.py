"""Measures how fast a trace is analyzed, and in how much memory.

Holistic Trace Analysis is measured too, where it is installed.

    python -m benchmarks.analyze_speed N6.json N24.json --peer /path/to/python-with-hta

Our time is the whole command, file to printed diagnosis; the peer's its load, temporal breakdown,
overlap and kernel breakdown.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PEER = """
import sys
from hta.trace_analysis import TraceAnalysis
analysis = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir="")
analysis.get_temporal_breakdown(visualize=False)
analysis.get_comm_comp_overlap(visualize=False)
analysis.get_gpu_kernel_breakdown(visualize=False)
"""
SAMPLED_EVERY_S = 0.02
REPEATS = 3


@dataclass
class Run:
    """One run of a command: wall and CPU time, and the peak memory of all its processes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measure(command: list[str], cache: str) -> Run:
    """Run a command and return what it used.

    Memory pages that several of its processes share count once for each of them.
    """
    begin_s, cpu_before_s = time.perf_counter(), cpu_of_children_s()
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    peak = [0]
    watcher = threading.Thread(target=watch_memory, args=(process.pid, peak))
    watcher.start()
    _, stderr = process.communicate()
    wall_s = time.perf_counter() - begin_s
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed: {stderr[-500:]}")
    return Run(wall_s, cpu_of_children_s() - cpu_before_s, peak[0])


def cpu_of_children_s() -> float:
    """Return the CPU time, in seconds, of all commands that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watch_memory(pid: int, peak: list[int]) -> None:
    """Set `peak[0]` to the most memory of a process and its children, in bytes, until it ends."""
    try:
        root = psutil.Process(pid)
        while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
            processes = (root, *root.children(recursive=True))
            resident = sum(process.memory_info().rss for process in processes)
            peak[0] = max(peak[0], resident)
            time.sleep(SAMPLED_EVERY_S)
    except psutil.Error:
        pass  # It has ended between two samples.


def event_count(path: Path) -> int:
    """Return the number of events in a trace, by a key that each event has."""
    count, rest = 0, b""
    with open(path, "rb") as file:
        while block := file.read(16 << 20):
            text = rest + block
            count += text.count(b'"ph"')
            rest = text[-3:] if not text.endswith(b'"ph"') else b""
    return count


def measure_perfscope(path: Path, cache: str) -> Run:
    """Print the best of several runs without the cache, then two with it; return the best."""
    events, text_bytes = event_count(path), path.stat().st_size
    command = [sys.executable, "-m", "perfscope", "analyze", str(path), "--json"]
    runs = [measure([*command, "--no-cache"], cache) for _ in range(REPEATS)]
    best = Run(
        min(run.wall_s for run in runs),
        min(run.cpu_s for run in runs),
        max(run.peak_bytes for run in runs),
    )
    print(f"{path.name}: {text_bytes / 1e6:.0f} MB, {events} events")
    print(
        f"  file to diagnosis     {best.wall_s:.2f} s ({1e9 * best.wall_s / events:.0f} ns per"
        f" event), {best.cpu_s:.2f} s of CPU time"
    )
    print(
        f"  memory                {best.peak_bytes / 1e6:.0f} MB,"
        f" {best.peak_bytes / text_bytes:.2f} of the text"
    )
    first = measure(command, cache)
    second = measure(command, cache)
    print(f"  fills the cache       {first.wall_s:.2f} s, CPU {first.cpu_s:.2f} s")
    print(f"  from the cache        {second.wall_s:.2f} s, CPU {second.cpu_s:.2f} s")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "traces",
        nargs="+",
        type=Path,
        help="traces, not compressed; the peer gets the first one",
    )
    parser.add_argument("--peer", help="a Python in which HolisticTraceAnalysis is installed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        runs = [measure_perfscope(path, cache) for path in args.traces]
    if args.peer:
        peer = measure([args.peer, "-c", PEER, str(args.traces[0])], tempfile.gettempdir())
        print(
            f"Holistic Trace Analysis: {peer.wall_s:.1f} s, {peer.cpu_s:.1f} s of CPU time,"
            f" {peer.peak_bytes / 1e6:.0f} MB"
        )
        print(
            f"  ratio {peer.wall_s / runs[0].wall_s:.1f} in time,"
            f" {peer.cpu_s / runs[0].cpu_s:.1f} in CPU time,"
            f" {peer.peak_bytes / runs[0].peak_bytes:.1f} in memory"
        )


if __name__ == "__main__":
    main()
