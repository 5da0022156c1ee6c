"""The wheel: every file of the package and no other, data files and `py.typed` included."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conventions.sources import PACKAGE, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build from a copy, because a build writes next to its sources."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    shutil.copytree(
        PACKAGE, source / "perfscope", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(built),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("perfscope_ml-*.whl")
    return zipfile.ZipFile(path)


def text(wheel: zipfile.ZipFile, name: str) -> str:
    """Return the content of one metadata file of the wheel."""
    (path,) = [packed for packed in wheel.namelist() if packed.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_the_wheel_contains_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    packed = {
        name for name in wheel.namelist() if ".dist-info/" not in name and not name.endswith(".so")
    }
    kept = [
        path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    kept = [
        path for path in kept if path.suffix != ".so"
    ]  # there is one where there was a compiler
    assert packed == {str(path.relative_to(PACKAGE.parent)) for path in kept}
    assert {
        "perfscope/py.typed",
        "perfscope/agent/probe/core.py",
        "perfscope/ui/assets/report.js",
    } <= packed


def test_the_wheel_has_a_name_a_license_and_the_command(wheel: zipfile.ZipFile) -> None:
    metadata = text(wheel, "METADATA")
    assert "\nName: perfscope-ml\n" in metadata and "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "perfscope = perfscope.cli:main" in text(wheel, "entry_points.txt")


def test_torch_is_an_optional_dependency(wheel: zipfile.ZipFile) -> None:
    needed = [
        line
        for line in text(wheel, "METADATA").splitlines()
        if line.startswith("Requires-Dist: torch")
    ]
    assert needed and all("extra ==" in line for line in needed)


def test_versions_have_lower_bounds_only(wheel: zipfile.ZipFile) -> None:
    needed = [
        line for line in text(wheel, "METADATA").splitlines() if line.startswith("Requires-Dist: ")
    ]
    assert [line for line in needed if "<" in line or "==" in line.split(";")[0]] == []


def test_the_version_of_the_wheel_is_that_of_the_package(wheel: zipfile.ZipFile) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perfscope", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert f"\nVersion: {done.stdout.split()[-1]}\n" in text(wheel, "METADATA")
