"""A substitute for the NVIDIA driver's library, which answers from a scenario file.

README.md in this folder describes the scenarios.
"""

import os
import shutil
import subprocess
import unittest
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = ("nvml.c", "processes_and_links.c", "newer.c", "scenario.c", "live.c")
LIBRARY = "libnvidia-ml.so.1"
WARNINGS = ("-Wall", "-Wextra", "-Werror")


@cache
def build_driver(place: Path, *, old: bool = False) -> Path:
    """Compile the library into a folder below `place` and return the folder.

    Raises SkipTest without a C compiler.
    """
    if shutil.which("cc") is None:
        raise unittest.SkipTest("needs a C compiler (cc) for the substitute driver")
    folder = place / "libraries" / ("old" if old else "new")
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        "cc",
        "-std=gnu11",
        "-O1",
        *WARNINGS,
        "-shared",
        "-fPIC",
        "-Wl,-Bsymbolic",
        "-o",
        str(folder / LIBRARY),
    ]
    defined = ["-DOLD_DRIVER"] if old else []
    subprocess.run([*command, *defined, *(str(FOLDER / name) for name in SOURCES)], check=True)
    return folder


def write_scenario(
    folder: Path, name: str, *changes: str, devices: int = 1, links: str = "switch"
) -> Path:
    """Write the scenario of `scenarios/NAME.txt`, with its device repeated, and return the file.

    Each device is followed by `changes`; a line `@N LINE` is for device N only. Links lead to a
    switch, or (`mesh`) to the other devices in turn.
    """
    head, _, body = (FOLDER / "scenarios" / f"{name}.txt").read_text().partition("\ndevice ")
    lines = [head]
    for at in range(devices):
        lines.append("device " + body.rstrip("\n"))
        lines += [change for change in changes if not change.startswith("@")]
        lines += [change.partition(" ")[2] for change in changes if change.startswith(f"@{at} ")]
        others = [number for number in range(devices) if number != at] or [at]
        for link in range(18):
            to = (
                f"0 00000000:{0x10 + others[link % len(others)]:02X}:00.0"
                if links == "mesh"
                else "2 00000000:C0:00.0"
            )
            lines.append(f"link {link} {to}")
    path = folder / "scenario.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def environment(driver: Path | None, scenario: Path | None) -> dict[str, str]:
    """Return an environment in which a process finds the substitute as its driver, if given."""
    env = dict(os.environ)
    if driver is not None and scenario is not None:
        env |= {"LD_LIBRARY_PATH": str(driver), "SUBSTITUTE_SCENARIO": str(scenario)}
    return env
