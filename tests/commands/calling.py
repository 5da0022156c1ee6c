"""The command line as another process."""

import subprocess
from pathlib import Path

from tests.target_processes import perfscope


def call(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run perfscope with these arguments, and return what it printed and its exit code."""
    command = perfscope(*arguments)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env=env, check=False
    )
