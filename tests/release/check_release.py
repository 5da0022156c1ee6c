"""Builder and checker of a release: `make release-check`, which `docs/releasing.md` describes.

It builds an sdist, and from it one wheel with a C compiler and one without. It checks their
metadata, installs each wheel into a new virtual environment, and diagnoses a small trace there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import perfscope

ROOT = Path(perfscope.__file__).parents[1]
COMPILED = ("compiled_reader", "injection")
IN_SDIST = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "perfscope/py.typed",
    "perfscope/traces/kineto/compiled/scan.h",
    "perfscope/agent/entry/injected_page.s",
    "perfscope/ui/assets/report.js",
)
STEPS, STEP_US = 12, 10_000


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """Run a command outside the repository and return its stdout; stop at the first failure."""
    print("+", *command, flush=True)
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        print(done.stdout)
        sys.exit(f"release check: exit code {done.returncode} of {command[0]}")
    return done.stdout


def expect(condition: object, failure: str) -> None:
    """Stop with an explanation unless the condition is true."""
    if not condition:
        sys.exit(f"release check: {failure}")


def build_sdist(folder: Path) -> Path:
    """Build the sdist of the checkout and check what it contains."""
    run([sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT], folder)
    (sdist,) = folder.glob("perfscope_ml-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_SDIST if name not in names]
    expect(not missing, f"{sdist.name} lacks {missing}")
    return sdist


def build_wheel(sdist: Path, folder: Path, compiler: bool) -> Path:
    """Build a wheel from the sdist, as pip does on a machine with or without a C compiler."""
    without = {} if compiler else {"CC": "/bin/false"}
    options = ["--no-deps", "--no-cache-dir", "--wheel-dir", str(folder)]
    run([sys.executable, "-m", "pip", "wheel", *options, sdist], folder, **without)
    (wheel,) = folder.glob("perfscope_ml-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
    for part in COMPILED:
        found = any(f"/{part}." in name for name in libraries)
        expect(found == compiler, f"{wheel.name}: {part} is {'' if found else 'not '}compiled")
    return wheel


def write_trace(path: Path) -> None:
    """Write a small trace of the PyTorch profiler: steps of one matrix multiplication each."""
    events = [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "dur": STEP_US - 100},
        {"ph": "X", "cat": "user_annotation", "pid": 1, "tid": 1, "dur": STEP_US - 50},
    ]
    rows = []
    for step in range(STEPS):
        operator, annotation = ({**event, "ts": step * STEP_US} for event in events)
        annotation["name"] = f"ProfilerStep#{step}"
        operator["ts"] = step * STEP_US + 10
        rows += [annotation, operator]
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": rows}), "utf-8")


def diagnose_with(wheel: Path, folder: Path, trace: Path) -> str:
    """Install a wheel into a new environment and return its diagnosis of the trace as JSON."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python, command = environment / "bin" / "python", environment / "bin" / "perfscope"
    run([python, "-m", "pip", "install", "--quiet", wheel], folder)
    version = run([command, "--version"], folder).split()[-1]
    expect(version == perfscope.__version__, f"{wheel.name} has version {version}")
    run([command, "analyze", trace, "--no-cache"], folder)
    return run([command, "analyze", trace, "--no-cache", "--json"], folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the result")
    out = parser.parse_args().out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    work = out / "check"
    diagnoses = []
    work.mkdir(parents=True)
    trace = work / "trace.json"
    write_trace(trace)
    sdist = build_sdist(out)
    for compiler in (True, False):
        folder = work / ("with_compiler" if compiler else "without_compiler")
        folder.mkdir()
        wheel = build_wheel(sdist, folder, compiler)
        run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel], folder)
        diagnoses.append(diagnose_with(wheel, folder, trace))
        if compiler:
            shutil.copy(wheel, out)
    expect(diagnoses[0] == diagnoses[1], "the diagnosis depends on the compiled reader")
    shutil.rmtree(work)
    print("release check: passed;", *sorted(path.name for path in out.iterdir()))


if __name__ == "__main__":
    main()
