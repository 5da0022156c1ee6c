"""Runs all of `make gpu-check` on the simulated device (`make test-long`)."""

import subprocess
import sys

from tests.simulated_accelerator import environment
from tests.target_processes import ROOT


def main() -> int:
    """Return the exit code of the check."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--out", "/dev/null"]
    return subprocess.run(command, cwd=ROOT, env=environment()).returncode


if __name__ == "__main__":
    sys.exit(main())
