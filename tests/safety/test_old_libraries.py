"""Old, foreign and broken libraries: they are reported in one line, and every command continues."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.nvml import bindings
from perfscope.agent.probe.torch_profiler_api import OLDEST_TORCH, too_old
from perfscope.traces.load import load_trace
from tests.commands.run_targets import TRAINING
from tests.substitute_nvml import build_driver, environment, write_scenario
from tests.target_processes import perfscope

ROOT = Path(__file__).parents[2]
WHEELS = {"old": "nvidia-ml-py==12.535.161", "shadow": "pynvml==11.5.3"}
BROKEN = {
    "damaged": "NVML_VALUE_TYPE_UNSIGNED_SHORT = 6\nNVML_VALUE_TYPE_DOUBLE = 0\n",
    "no Python": "def (\n",
    "raises": "import ctypes\nctypes.CDLL('libnothing-of-this-name.so')\n",
    "absent": "raise ModuleNotFoundError(\"No module named 'pynvml'\", name='pynvml')\n",
}
REASONS = {
    "old": r"nvidia-ml-py 12\.535\.161 is too old",
    "shadow": r"the package pynvml 11\.5\.3 hides nvidia-ml-py",
    "damaged": "importing nvidia-ml-py fails .*AttributeError",
    "no Python": "importing nvidia-ml-py fails .*SyntaxError",
    "raises": "importing nvidia-ml-py fails .*OSError",
    "absent": "nvidia-ml-py is not installed",
}


@pytest.fixture(scope="module", params=REASONS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Return the name of a case, and a folder that is searched before the installed bindings."""
    name = str(request.param)
    folder = tmp_path_factory.mktemp("libraries")
    if name in BROKEN:
        (folder / "pynvml.py").write_text(BROKEN[name])
        return name, folder
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(folder),
        WHEELS[name],
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{WHEELS[name]} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return name, folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment with a driver that works."""
    place = tmp_path_factory.mktemp("driver")
    return environment(build_driver(place), write_scenario(place, "h100"))


def command(
    folder: Path, env: dict[str, str], *words: str | Path
) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(folder), *filter(None, [env.get("PYTHONPATH")])])
    done = subprocess.run(
        perfscope(*map(str, words)),
        env=env | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def reported(text: str, name: str) -> bool:
    return bool(
        re.search(REASONS[name] + r"[^\n]*pip install --upgrade 'nvidia-ml-py>=12\.560\.30'", text)
    )


def gpu_line(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    (line,) = [each for each in json.loads(done.stdout) if each["name"] == "GPU counters"]
    return dict(line)


def test_doctor_names_the_reason_and_the_command(
    case: tuple[str, Path], driver: dict[str, str]
) -> None:
    name, folder = case
    line = gpu_line(command(folder, driver, "doctor", "--json"))
    assert re.search(REASONS[name], line["said"]) and "\n" not in line["said"]
    assert "pip install --upgrade 'nvidia-ml-py>=12.560.30'" in line["fix"]
    assert ("pip uninstall --yes pynvml" in line["fix"]) == (name == "shadow")


@pytest.mark.parametrize("case", ["old"], indirect=True)
def test_doctor_recommends_nothing_on_a_host_without_a_driver(case: tuple[str, Path]) -> None:
    name, folder = case
    if bindings.has_driver():
        pytest.skip("this host has a driver")
    line = gpu_line(command(folder, dict(os.environ), "doctor", "--json"))
    assert (
        line["fix"] is None and "no NVIDIA driver" in line["said"] and reported(line["said"], name)
    )


@pytest.mark.parametrize("case", WHEELS, indirect=True)
def test_attach_records_everything_else_and_reports_why_counters_are_missing(
    case: tuple[str, Path], driver: dict[str, str], tmp_path: Path
) -> None:
    name, folder = case
    with subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"]) as target:
        words = (
            "attach",
            str(target.pid),
            "--depth",
            "observe",
            "--duration",
            "1",
            "--json",
            "--out",
            tmp_path / "run",
        )
        done = command(folder, driver, *words)
        target.kill()
    assert done.returncode == 0, done.stderr
    sources = {source["name"]: source for source in json.loads(done.stdout)["sources"]}
    assert sources["nvml"]["status"] == "unavailable" and reported(sources["nvml"]["reason"], name)
    assert sources["host"]["status"] == "ok"


@pytest.mark.parametrize("case", ["shadow", "damaged"], indirect=True)
def test_top_shows_the_processes_without_the_bindings(
    case: tuple[str, Path], driver: dict[str, str]
) -> None:
    name, folder = case
    done = command(
        folder, driver, "top", "--count", "1", "--interval", "0.2", "--json", str(os.getpid())
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert [process["pid"] for process in seen["processes"]] == [os.getpid()]
    assert reported(seen["no_devices"], name)


def test_the_current_bindings_are_used(driver: dict[str, str], tmp_path: Path) -> None:
    line = gpu_line(command(tmp_path, driver, "doctor", "--json"))
    assert line["fix"] is None and "H100" in line["said"]


def test_no_other_command_imports_the_bindings() -> None:
    code = (
        "import sys, perfscope.cli, perfscope.agent.recording.recorder,"
        " perfscope.agent.live.live_sampler,"
        " perfscope.agent.machine_checks.doctor;import perfscope.ui.dashboard.serve,"
        " perfscope.ui.dashboard.live_page, perfscope.profiling.session;print('pynvml' in"
        " sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "False\n"
    )


def test_the_declared_minimum_is_the_checked_one() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'"{bindings.PACKAGE}>={bindings.OLDEST}"' in project
    assert set(re.findall(r'"torch>=([\d.]+)"', project)) == {"{}.{}".format(*OLDEST_TORCH)}
    installed = tuple(map(int, importlib.metadata.version(bindings.PACKAGE).split(".")))
    assert installed >= tuple(map(int, bindings.OLDEST.split(".")))


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("2.3.1", True),
        ("1.13.1+cu117", True),
        ("2.4.0", False),
        ("2.10.0+cpu", False),
        ("3.0.0a0+git12", False),
    ]
    + [("?", False), ("main", False), ("", False)],
)
def test_versions_of_torch_are_compared_as_numbers(version: str, old: bool) -> None:
    assert too_old(version) == old


def test_with_an_older_torch_no_window_is_taken_and_the_reason_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    training = textwrap.indent(
        TRAINING.replace("range(40)", "range(150)").replace("0.005", "0.02"), "    "
    )
    path.write_text(
        "import perfscope, torch\ntorch.__version__ = '2.3.1'\n"
        f"with perfscope.profile(show=False) as scope:\n{training}\nscope.save('kept.perfscope')\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env
    )
    assert done.returncode == 0, done.stderr
    sources = {
        source.name: source for source in load_trace(tmp_path / "kept.perfscope").manifest.sources
    }
    assert sources["probe"].status == "ok"
    assert sources["kernels"].status == "unavailable" and "torch 2.3.1" in (
        sources["kernels"].reason or ""
    )
