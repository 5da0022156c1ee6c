"""Addresses found in ELF files are those that the process uses."""

import ctypes
import os
from pathlib import Path

import pytest

from perfscope.agent.entry import symbol_range
from perfscope.agent.entry.symbols import addresses, c_library_files, python_version
from tests.agent.entry.target import Start, line_of


@pytest.mark.parametrize("name", ["_PyRuntime", "Py_Version", "PyRun_String", "PyGILState_Ensure"])
def test_addresses_in_this_process(name: str) -> None:
    found = symbol_range(os.getpid(), name)
    assert found is not None
    assert found[0] == ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
    assert found[1] > 0


def test_addresses_in_another_process(start: Start) -> None:
    show = "ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyRuntime'))"
    target = start(f"import ctypes; print('ready'); print({show}, flush=True); input()")
    found = symbol_range(target.pid, "_PyRuntime")
    assert found is not None
    assert found[0] == int(line_of(target))


def test_functions_of_the_c_library() -> None:
    found = addresses(
        os.getpid(), c_library_files(os.getpid()), ("mmap", "pthread_create", "no_such_function")
    )
    library = ctypes.CDLL(None)
    for name in ("mmap", "pthread_create"):
        assert found[name][0] == ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    assert "no_such_function" not in found


def test_an_unknown_name() -> None:
    assert symbol_range(os.getpid(), "Py_NoSuchThing") is None


def test_the_version() -> None:
    import sys

    assert python_version(os.getpid()) == sys.hexversion


def test_a_process_that_has_exited() -> None:
    gone = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    with pytest.raises(OSError, match="No such file"):
        symbol_range(gone, "_PyRuntime")
