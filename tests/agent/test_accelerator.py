"""The probe's file for devices, on the simulated device and on a stand-in for torch with CUDA."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfscope.agent.probe import accelerator
from perfscope.agent.probe.accelerator import UNKNOWN_STREAM, Accelerator, EventPool
from tests.simulated_accelerator import run_program

RUNTIME = """
static _Thread_local int mode = 1;
int cudaThreadExchangeStreamCaptureMode(int *wanted)
{
    int before = mode;
    if (*wanted < 0)
        return 1;
    mode = *wanted;
    *wanted = before;
    return 0;
}
"""

EXCHANGES = """
import ctypes, json, sys
from perfscope.agent.probe.accelerator import RELAXED, capture_mode_function
assert capture_mode_function() is None
ctypes.CDLL(sys.argv[1])
exchange = capture_mode_function()
print(json.dumps([exchange(mode) for mode in (RELAXED, 0, -1)]))
"""


def cuda_build(**of_cuda: Any) -> Any:
    """Return a stand-in for torch built with CUDA, with a context on device 1 of three."""
    low_level: dict[str, Any] = {
        "_cuda_getDevice": lambda: 1,
        "_cuda_getCurrentStream": lambda number: (70 + number, number, 1),
        "_cuda_hasPrimaryContext": lambda number: number == 1,
        "_profiler": SimpleNamespace(ProfilerActivity=SimpleNamespace(CUDA="cuda activity")),
    }
    cuda = {
        "is_initialized": lambda: True,
        "device_count": lambda: 3,
        "get_device_properties": lambda number: SimpleNamespace(uuid=f"GPU-{number}"),
        "is_current_stream_capturing": lambda: False,
    }
    return SimpleNamespace(
        version=SimpleNamespace(cuda="13.0", hip=None),
        cuda=SimpleNamespace(**{**cuda, **of_cuda}),
        _C=SimpleNamespace(**low_level),
    )


def test_the_simulated_device_is_seen_through_torch() -> None:
    found = json.loads(run_program("adapter"))
    assert found.pop("elapsed_ns") > 0
    assert found == {
        "before": "",
        "kind": "sim",
        "activity": True,
        "stream": [0, 0],
        "devices": [],
        "float32_products": "",
        "may_record": True,
        "early": None,
    }


@pytest.mark.parametrize(("hip", "may"), [("7.2.26015-1f2", False), ("7.3.1-0", True)])
def test_no_event_is_recorded_where_hip_breaks_captures(hip: str, may: bool) -> None:
    torch = cuda_build()
    torch.version = SimpleNamespace(cuda=None, hip=hip)
    assert Accelerator(torch).may_record() is may
    assert Accelerator(torch).hip == hip


def test_a_cuda_build_names_its_devices_and_streams() -> None:
    device = Accelerator(cuda_build())
    assert device.devices() == ["GPU-1"]
    assert device.stream() == (1, 71)
    assert device.activity() == "cuda activity"
    assert Accelerator(cuda_build(is_initialized=lambda: False)).devices() == []


def test_a_build_without_an_accelerator_has_no_stream_and_no_activity() -> None:
    torch = cuda_build(is_initialized=lambda: False)
    torch.version.cuda = None
    torch._C._profiler.ProfilerActivity.PrivateUse1 = "other activity"
    device = Accelerator(torch)
    assert (device.kind(), device.stream(), device.activity()) == ("", UNKNOWN_STREAM, None)


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ({"_get_fp32_precision_getter": lambda *_: "tf32"}, "tf32"),
        ({"_get_fp32_precision_getter": lambda *_: "none"}, "ieee"),
        ({"_get_cublas_allow_tf32": lambda: True}, "tf32"),
        ({"_get_cublas_allow_tf32": lambda: False}, "ieee"),
    ],
)
def test_products_of_float32_by_the_new_and_the_old_setting(
    functions: dict[str, Any], expected: str
) -> None:
    torch = cuda_build()
    vars(torch._C).update(functions)
    assert Accelerator(torch).float32_products() == expected


def test_mixed_settings_of_float32_are_unknown() -> None:
    def mixed(*_: str) -> str:
        raise RuntimeError("mix of the legacy and new APIs")

    torch = cuda_build()
    torch._C._get_fp32_precision_getter = mixed
    assert Accelerator(torch).float32_products() == ""


def test_a_device_that_fails_a_question_is_not_asked_again() -> None:
    def fail() -> bool:
        raise RuntimeError("unspecified launch failure")

    event = SimpleNamespace(record=lambda: None, query=fail)
    pool = EventPool(Accelerator(cuda_build(Event=lambda enable_timing: event)))
    mark = pool.take()
    assert mark is not None
    assert pool.is_reached(mark) and not pool.is_usable
    assert pool.asked(lambda: 1) is None


def test_there_are_at_most_so_many_events() -> None:
    made: list[Any] = []

    def event(enable_timing: bool) -> Any:
        made.append(SimpleNamespace(record=lambda: None))
        return made[-1]

    pool = EventPool(Accelerator(cuda_build(Event=event)))
    marks = [pool.take() for _ in range(2 * accelerator.MOST_EVENTS)]
    assert len(made) == accelerator.MOST_EVENTS
    assert sum(mark is not None for mark in marks) == accelerator.MOST_EVENTS


def test_without_ctypes_nothing_is_held_or_relaxed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ctypes")
    assert not accelerator.hold([], 1)
    assert accelerator.capture_mode_function() is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")
def test_the_capture_mode_is_exchanged_through_the_runtime_that_is_loaded(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "libcudart.so.13"
    place.parent.mkdir()
    source = tmp_path / "runtime.c"
    source.write_text(RUNTIME)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", place, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", EXCHANGES, place], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [1, accelerator.RELAXED, None]
