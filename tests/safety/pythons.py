"""The Pythons of this machine, of pyenv and on PATH: the oldest and the newest, or one of each
version (ALL_VARIABLE).
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ALL_VARIABLE = "PERFSCOPE_ALL_PYTHONS"
MINORS = ("2.7", *(f"3.{minor}" for minor in range(15)))


def found() -> list[str]:
    """Return one program for each version, the oldest first; the one that runs the tests is always
    there.
    """
    by_version: dict[str, str] = {}
    roots = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    installed = (
        [str(path) for path in roots.glob("*/bin/python") if path.exists()]
        if roots.is_dir()
        else []
    )
    on_path = [path for minor in MINORS if (path := shutil.which(f"python{minor}")) is not None]
    for python in (sys.executable, *installed, *on_path):
        version = version_of(python)
        if version != (0, 0):
            by_version.setdefault("{}.{:02}".format(*version), python)
    return [by_version[name] for name in sorted(by_version)]


@cache
def version_of(python: str) -> tuple[int, int]:
    """Return major and minor version, (0, 0) for what cannot be run (a shim of pyenv for a version
    that is not set).
    """
    shows = "import sys; sys.stdout.write('%d %d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", shows], capture_output=True, text=True)
    if done.returncode != 0:
        return 0, 0
    major, minor = done.stdout.split()
    return int(major), int(minor)


def called(python: str) -> str:
    return "{}.{}".format(*version_of(python))


def wanted() -> list[str]:
    """Return the programs that the tests use."""
    every = found()
    return every if os.environ.get(ALL_VARIABLE) else [every[0], *every[1:][-1:]]


PYTHONS = wanted()
