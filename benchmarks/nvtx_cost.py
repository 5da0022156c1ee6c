"""What a range costs under `perfscope run`: `python -m benchmarks.nvtx_cost`. Prints nanoseconds
for one push and pop, the least of 20 trials, without a tool and with ours, in C and from the nvtx
package.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.agent.nvtx.building import compiled
from tests.running import perfscope

COUNT = 20_000
IN_PYTHON = f"""
import time, nvtx
least = 1e9
domain = nvtx.get_domain("measured")
said = domain.get_event_attributes("measured")
for trial in range(20):
    first = time.perf_counter_ns()
    for _ in range({COUNT}):
        domain.push_range(said)
        domain.pop_range()
    least = min(least, (time.perf_counter_ns() - first) / {COUNT})
    time.sleep(0.05)
print(round(least, 1))
"""


def measured(folder: Path, name: str, command: list[str]) -> float:
    """ns a range; with a `name` under `perfscope run`."""
    whole = (
        [*perfscope("run", "--depth", "observe", "--out", folder / name, "--"), *command]
        if name
        else command
    )
    done = subprocess.run(whole, capture_output=True, text=True, check=True, env={**os.environ})
    return float(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = {
            "C": [str(compiled(folder)), str(COUNT)],
            "nvtx package": [sys.executable, "-c", IN_PYTHON],
        }
        for language, command in programs.items():
            plain = measured(folder, "", command)
            ours = measured(folder, language.replace(" ", "-"), command)
            print(
                f"{language}: {plain:.0f} ns without a tool, {ours:.0f} ns with ours:"
                f" {ours - plain:.0f} ns a range"
            )


if __name__ == "__main__":
    main()
