"""Reads mutated pieces with the compiled reader built for it with the address and
undefined-behavior sanitizers.

`python -m tests.safety.long_sanitized_reader --count 300000`. Ends with exit code 0 and a notice
where no compiler is.
"""

import argparse
import array
import importlib.machinery
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.kineto import compiled_parser as by_compiled
from tests.safety import seeds
from tests.safety.mutations import Mutator

SOURCES = Path(by_compiled.__file__).parent / "compiled"
BUILT = "PERFSCOPE_SANITIZED_READER"
FLAGS = (
    "-std=c11",
    "-g",
    "-O1",
    "-shared",
    "-fPIC",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)


def build_reader(folder: Path) -> Path:
    """Build the reader into a folder. Raises CalledProcessError."""
    path = folder / "compiled_reader.so"
    include = sysconfig.get_paths()["include"]
    sources = sorted(map(str, SOURCES.glob("*.c")))
    subprocess.run(["gcc", *FLAGS, f"-I{include}", *sources, "-o", str(path)], check=True)
    return path


def loaded(path: Path) -> Any:
    """The module at a path."""
    name = "compiled_reader"
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def read_pieces(path: Path, count: int, seed: int) -> int:
    """Read so many mutated pieces; a sanitizer that finds something ends this process. Returns how
    many were taken.
    """
    reader = loaded(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_compiled, "compiled_reader", reader)
        plan = by_compiled.make_plan()
    chance, taken = random.Random(seed), 0
    mutator, pieces, events = Mutator(chance), seeds.pieces(), seeds.kineto_events()
    for _ in range(count):
        text = chance.choice(pieces)
        if chance.random() < 0.3:
            text = mutator.by_structure(chance.choices(events, k=chance.randint(1, 4)))[1:-1]
        else:
            text = mutator.cut(text) if chance.random() < 0.1 else mutator.by_bytes(text, 3)
        # An array has no byte more than its content: what is read beyond is noticed.
        taken += reader.columns(plan, array.array("B", text)) is not None
    return taken


def main() -> int:
    """Build, start again with the sanitizer's library in front, and read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if BUILT in os.environ:
        print(
            f"{args.count:,} pieces,"
            f" {read_pieces(Path(os.environ[BUILT]), args.count, args.seed):,} taken, no report"
        )
        return 0
    if shutil.which("gcc") is None:
        print("NOTE: the compiled reader was not read with sanitizers: there is no gcc")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        libraries = [
            subprocess.run(
                ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        environment = {
            **os.environ,
            BUILT: str(build_reader(Path(folder))),
            "LD_PRELOAD": " ".join(libraries),
        }
        environment |= {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
        words = [sys.executable, "-m", "tests.safety.long_sanitized_reader"]
        return subprocess.run(
            [*words, "--count", str(args.count), "--seed", str(args.seed)], env=environment
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
