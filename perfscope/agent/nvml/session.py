"""Calls into NVML, the NVIDIA driver's management library, and what its error codes mean."""

from collections.abc import Callable
from typing import Any, Final

import pynvml

from perfscope.agent.nvml.bindings import DRIVER_LIBRARY, has_driver
from perfscope.errors import CollectorUnavailable

NEVER_AVAILABLE: Final = {
    pynvml.NVML_ERROR_INVALID_ARGUMENT: "the driver does not know it",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not supported by this device and driver",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission (the driver reserves it for the administrator)",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "this driver is too old for it",
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: "this driver has another version of it",
    pynvml.NVML_ERROR_DEPRECATED: "this driver no longer has it",
    pynvml.NVML_ERROR_NOT_FOUND: "the driver has none",
}
"""Answers that do not change when a call is repeated."""
DRIVER_GONE: Final = {
    pynvml.NVML_ERROR_UNINITIALIZED: "the driver went away",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the driver was replaced: its library has a different version"
    ),
}
"""Answers of all calls until the library has been initialized again."""
DEVICE_GONE: Final = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "the device fell off the bus",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the device needs a reset",
}
"""Answers of all calls about one device."""


class NvmlSession:
    """Calls NVML without raising for its errors; `last` is the code of the last call.

    A session belongs to one thread.
    """

    def __init__(self) -> None:
        self.last = pynvml.NVML_SUCCESS

    def query(self, function: Callable[..., Any], *args: Any) -> Any | None:
        """Return the value of a call, None where it failed; `reason` then says why."""
        try:
            value = function(*args)
        except pynvml.NVMLError as error:
            self.last = int(error.value)
            return None
        except pynvml.NVMLLibraryMismatchError:
            self.last = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
            return None
        self.last = pynvml.NVML_SUCCESS
        return value

    @property
    def reason(self) -> str:
        """Why the last call returned no value."""
        for meanings in (NEVER_AVAILABLE, DRIVER_GONE, DEVICE_GONE):
            if self.last in meanings:
                return meanings[self.last]
        return f"NVML error {self.last}"

    @property
    def is_driver_gone(self) -> bool:
        """Whether the last call failed because the driver is gone."""
        return self.last in DRIVER_GONE

    @property
    def is_device_gone(self) -> bool:
        """Whether the last call failed because its device is gone."""
        return self.last in DEVICE_GONE

    def initialize(self) -> bool:
        """Initialize the library; return whether the driver answers."""
        self.query(pynvml.nvmlInitWithFlags, 0)
        return bool(self.last == pynvml.NVML_SUCCESS)


def open_nvml() -> NvmlSession:
    """Return a session with a driver that answers and has a device.

    Raises CollectorUnavailable with what to do.
    """
    nvml = NvmlSession()
    if not has_driver():
        raise CollectorUnavailable(f"no NVIDIA driver ({DRIVER_LIBRARY} is not installed)")
    if not nvml.initialize():
        raise CollectorUnavailable(
            f"the NVIDIA driver's library is installed, but {reason_not_initialized(nvml)}"
        )
    if not nvml.query(pynvml.nvmlDeviceGetCount):
        raise CollectorUnavailable(
            "the NVIDIA driver shows no device (start a container with `--gpus`)"
        )
    return nvml


def reason_not_initialized(nvml: NvmlSession) -> str:
    """Return why the library could not be initialized, and how to fix it."""
    if nvml.last == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "the driver is not loaded: make `nvidia-smi` work (start a container with `--gpus`)"
    if nvml.last == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "its version differs from the loaded driver's: reload the driver or reboot"
    return nvml.reason
