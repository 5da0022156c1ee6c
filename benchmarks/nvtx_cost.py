"""Measures the cost of an NVTX range under `perfscope run`: `python -m benchmarks.nvtx_cost`.

It prints the nanoseconds of one push and pop, the least of 20 trials, without a tool and with
perfscope's, in C and from the nvtx package.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.agent.nvtx.building import compile_program
from tests.target_processes import perfscope

COUNT = 20_000
IN_PYTHON = f"""
import time, nvtx
least = 1e9
domain = nvtx.get_domain("measured")
attributes = domain.get_event_attributes("measured")
for trial in range(20):
    first = time.perf_counter_ns()
    for _ in range({COUNT}):
        domain.push_range(attributes)
        domain.pop_range()
    least = min(least, (time.perf_counter_ns() - first) / {COUNT})
    time.sleep(0.05)
print(round(least, 1))
"""


def measure_range(folder: Path, name: str, command: list[str]) -> float:
    """Return the ns per range; with a `name`, under `perfscope run`."""
    whole = (
        [*perfscope("run", "--depth", "observe", "--out", folder / name, "--"), *command]
        if name
        else command
    )
    done = subprocess.run(whole, capture_output=True, text=True, check=True, env={**os.environ})
    return float(done.stdout)


def main() -> None:
    """Measure in both languages and print the results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = {
            "C": [str(compile_program(folder)), str(COUNT)],
            "nvtx package": [sys.executable, "-c", IN_PYTHON],
        }
        for language, command in programs.items():
            plain = measure_range(folder, "", command)
            with_tool = measure_range(folder, language.replace(" ", "-"), command)
            print(
                f"{language}: {plain:.0f} ns without a tool, {with_tool:.0f} ns with perfscope's:"
                f" {with_tool - plain:.0f} ns per range"
            )


if __name__ == "__main__":
    main()
