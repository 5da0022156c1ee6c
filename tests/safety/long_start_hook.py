"""Runs the tests of the start hook with every Python of this machine: `python -m
tests.safety.long_start_hook`.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.safety.pythons import ALL_VARIABLE


def main() -> int:
    """Run the tests with every Python; `make test` uses the oldest and the newest only."""
    command = [sys.executable, "-m", "pytest", "-q", Path(__file__).with_name("test_start_hook.py")]
    return subprocess.run(command, env={**os.environ, ALL_VARIABLE: "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
