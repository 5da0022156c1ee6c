"""The C program and the injection library, compiled here: skipped aloud where there is no compiler
or no NVTX header.
"""

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.agent.nvtx import library

HERE = Path(__file__).parent


def headers() -> Path | None:
    """The folder that has `nvtx3/nvToolsExt.h`: of the package nvidia-nvtx, or the system's."""
    places = [Path(one) for one in (*site.getsitepackages(), *sys.path) if one]
    found = [one for place in places for one in sorted(place.glob("nvidia/*/include"))]
    return next(
        (
            one
            for one in (*found, Path("/usr/include"))
            if (one / "nvtx3" / "nvToolsExt.h").is_file()
        ),
        None,
    )


def compiled(folder: Path, program: str = "program.c", *options: str) -> Path:
    """Return the binary of a program of this folder."""
    compiler, include = shutil.which("cc") or shutil.which("gcc"), headers()
    if compiler is None or include is None:
        pytest.skip(
            "no C compiler" if compiler is None else "no NVTX headers: pip install nvidia-nvtx"
        )
    built = folder / "program"
    command = [
        compiler,
        "-O2",
        "-I",
        str(include),
        str(HERE / program),
        "-o",
        str(built),
        "-lpthread",
        "-ldl",
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return built


def need_library() -> None:
    if library() is None:
        pytest.skip("the NVTX library is not built: perfscope was installed without a C compiler")
