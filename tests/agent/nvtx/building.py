"""The C programs that call NVTX, compiled for the tests; without a compiler, the NVTX headers or
the injection library the tests are skipped.
"""

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.agent.nvtx import library

SOURCES = Path(__file__).parent


def find_headers() -> Path | None:
    """Return the folder with `nvtx3/nvToolsExt.h`: of the package nvidia-nvtx, or the system's."""
    packages = [Path(folder) for folder in (*site.getsitepackages(), *sys.path) if folder]
    folders = [found for package in packages for found in sorted(package.glob("nvidia/*/include"))]
    for folder in (*folders, Path("/usr/include")):
        if (folder / "nvtx3" / "nvToolsExt.h").is_file():
            return folder
    return None


def compile_program(folder: Path, name: str = "program.c") -> Path:
    """Return the binary of a program of this folder."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    headers = find_headers()
    if headers is None:
        pytest.skip("no NVTX headers: pip install nvidia-nvtx")
    binary = folder / "program"
    command = [compiler, "-O2", f"-I{headers}", SOURCES / name, "-o", binary, "-lpthread", "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return binary


def need_library() -> None:
    """Skip the test if the injection library is not built."""
    if library() is None:
        pytest.skip("the NVTX library is not built: perfscope was installed without a C compiler")
