"""Builds the simulated device once, and keeps it in `build/accelerator`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
BUILDS = ROOT / "build" / "accelerator"
# Kineto's C++ interface changes with torch's versions.
TORCH = "2.13."
COMPILER = "g++"
# torch's headers declare the interface for profiler plug-ins only with the first three.
FLAGS = (
    "-DUSE_KINETO",
    "-DKINETO_NAMESPACE=libkineto",
    "-DFMT_HEADER_ONLY",
    "-std=c++20",
    "-O1",
    "-fPIC",
    "-fvisibility=hidden",
    "-w",
)
ENTRY_POINT = "[torch.backends]\nsim = sim_device:load\n"
METADATA = "Metadata-Version: 2.1\nName: sim-device\nVersion: 0\n"
PARALLEL = 2


@cache
def why_not_buildable() -> str | None:
    """Return why the device cannot be built here, None if it can."""
    if shutil.which(COMPILER) is None:
        return f"needs a C++ compiler ({COMPILER})"
    try:
        found = version("torch")
    except PackageNotFoundError:
        return "needs torch"
    if not found.startswith(TORCH):
        return f"is written for torch {TORCH}x, and this is {found}"
    if not (torch_folder() / "include" / "kineto").is_dir():
        return "needs the headers of torch"
    return None


def torch_folder() -> Path:
    """Return the folder of the installed torch, without importing it."""
    return Path(str(distribution("torch").locate_file("torch")))


def sources() -> list[Path]:
    """Return the files that the library is built from, headers too."""
    files = [*(FOLDER / "src").iterdir(), FOLDER.parent / "substitute_nvml" / "live.h"]
    return sorted([*files, *(FOLDER / "site").glob("*.py")])


def key() -> str:
    """Return a hash of everything that the build depends on."""
    compiler = subprocess.run([COMPILER, "--version"], capture_output=True, check=True)
    parts = [version("torch").encode(), compiler.stdout, " ".join(FLAGS).encode()]
    parts += [path.name.encode() + path.read_bytes() for path in sources()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@cache
def build_device() -> Path:
    """Return the folder to put into PYTHONPATH; build it unless it is there."""
    done = BUILDS / key()
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_dir():
            with tempfile.TemporaryDirectory(dir=BUILDS) as made:
                build_into(Path(made))
                keep(Path(made), done)
    return done


def build_into(place: Path) -> None:
    """Compile and link the library, and add the Python part and its entry point."""
    include = torch_folder() / "include"
    includes = [f"-I{include}", f"-I{include / 'kineto'}"]
    units = sorted((FOLDER / "src").glob("*.cpp"))

    def compile_unit(unit: Path) -> str:
        out = str(place / f"{unit.stem}.o")
        subprocess.run([COMPILER, *FLAGS, *includes, "-c", str(unit), "-o", out], check=True)
        return out

    with ThreadPoolExecutor(PARALLEL) as pool:
        objects = list(pool.map(compile_unit, units))
    libraries = [f"-L{torch_folder() / 'lib'}", "-ltorch_cpu", "-lc10"]
    command = [COMPILER, "-shared", *objects, *libraries, "-o", str(place / "libsim.so")]
    subprocess.run(command, check=True)
    for path in (FOLDER / "site").glob("*.py"):
        shutil.copy(path, place)
    info = place / "sim_device-0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    (info / "METADATA").write_text(METADATA)
    (place / "peaks.json").write_text(calibrated_peaks())


def calibrated_peaks() -> str:
    """Return peaks of the device at which this CPU computes values in a tenth of the time."""
    command = [sys.executable, str(FOLDER / "programs" / "calibrate.py")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def keep(made: Path, done: Path) -> None:
    """Move a finished build to its place; older ones are of other sources and are removed."""
    for old in BUILDS.iterdir():
        if old.is_dir() and old != made:
            shutil.rmtree(old)
    ready = BUILDS / f"{done.name}.new"
    shutil.copytree(made, ready, ignore=shutil.ignore_patterns("*.o"))
    os.replace(ready, done)


if __name__ == "__main__":
    print(build_device())
