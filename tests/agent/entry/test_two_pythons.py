"""A process that has loaded a second libpython: the one that runs is entered, or the process is
refused with the reason.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from perfscope.agent.entry import enter
from perfscope.agent.entry.symbols import python_files
from perfscope.errors import CannotEnter
from tests.agent.entry.target import READY, SLEEP, Start, wait_for_output, writing

LOADS_SECOND_LIBRARY = f"import ctypes, sys\nctypes.CDLL(sys.argv[1])\n{READY}\nwhile True: pass"
INITIALIZES_SECOND_LIBRARY = f"""
import ctypes, sys
second = ctypes.c_char.in_dll(ctypes.CDLL(sys.argv[1]), "PyType_Type")
flags = ctypes.c_ulong.from_address(ctypes.addressof(second) + 168)
flags.value |= 1 << 12
{READY}
while True: pass
"""
"""The second copy looks initialized: `tp_flags`, at offset 168, has Py_TPFLAGS_READY, bit 12."""


def other_libraries() -> list[Path]:
    """Return every libpython of this machine that this Python does not use."""
    used = Path(sys.base_prefix, "lib", sysconfig.get_config_var("LDLIBRARY") or "")
    roots = [Path(sys.base_prefix).parent, Path("/usr/lib")]
    patterns = ("*/lib/libpython3.*.so.1.0", "*/libpython3.*.so.1.0")
    found = [path for root in roots for pattern in patterns for path in root.glob(pattern)]
    return [path for path in found if path.resolve() != used.resolve()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a second copy of this Python's library."""
    library = Path(sys.base_prefix, "lib", str(sysconfig.get_config_var("INSTSONAME")))
    if not library.is_file():
        pytest.skip("this Python has no shared library")
    place = tmp_path / library.name
    shutil.copy(library, place)
    return place


def test_the_running_python_is_entered_when_a_second_copy_is_loaded(
    start: Start, tmp_path: Path, copy: Path
) -> None:
    target = start(LOADS_SECOND_LIBRARY, str(copy))
    enter(target.pid, writing(tmp_path / "out"))
    wait_for_output(tmp_path / "out", "x")
    assert target.poll() is None


def test_the_running_python_is_entered_when_another_version_is_loaded(
    start: Start, tmp_path: Path
) -> None:
    others = other_libraries()
    if not others:
        pytest.skip("no other libpython on this machine")
    for number, library in enumerate(others[-4:]):
        target = start(LOADS_SECOND_LIBRARY, str(library), stderr=subprocess.DEVNULL)
        enter(target.pid, writing(tmp_path / f"out{number}"))
        wait_for_output(tmp_path / f"out{number}", "x")
        assert target.poll() is None


def test_an_idle_process_with_a_second_copy_is_entered(
    start: Start, tmp_path: Path, copy: Path
) -> None:
    target = start(
        SLEEP.replace("import time;", "import ctypes, sys, time; ctypes.CDLL(sys.argv[1]);"),
        str(copy),
    )
    enter(target.pid, writing(tmp_path / "out"))
    wait_for_output(tmp_path / "out", "x")
    assert target.poll() is None


def test_a_process_in_which_two_pythons_run_is_refused(start: Start, copy: Path) -> None:
    target = start(INITIALIZES_SECOND_LIBRARY, str(copy))
    with pytest.raises(CannotEnter, match="more than one Python"):
        enter(target.pid, "pass")
    assert target.poll() is None


def test_the_library_of_this_process_is_found() -> None:
    assert python_files(os.getpid()) != []
