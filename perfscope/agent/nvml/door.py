"""The one door to NVML: `query(fn, *args)` gives the value, or None and why."""

from collections.abc import Callable
from typing import Any, Final

import pynvml

from perfscope.agent.nvml.bindings import DRIVER_LIBRARY, has_driver
from perfscope.errors import CollectorUnavailable

NEVER: Final = {
    pynvml.NVML_ERROR_INVALID_ARGUMENT: "the driver does not know it",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not supported by this device and driver",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission (the driver keeps it to the administrator)",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "this driver is too old for it",
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: "this driver has another version of it",
    pynvml.NVML_ERROR_DEPRECATED: "this driver no longer has it",
    pynvml.NVML_ERROR_NOT_FOUND: "the driver has none",
}
"""Asking again will not help."""
AWAY: Final = {
    pynvml.NVML_ERROR_UNINITIALIZED: "the driver went away",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the driver was changed: it and its library are of different versions"
    ),
}
"""Nothing answers until the library has been initialised again."""
LOST: Final = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "the device fell off the bus",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the device needs a reset",
}
"""This one device does not answer."""


class Door:
    """Asks NVML and never raises for what it answers. `last` is the code of the last answer, 0 for
    a value.

    One thread's: another thread has a door of its own.
    """

    def __init__(self) -> None:
        self.last = pynvml.NVML_SUCCESS

    def query(self, fn: Callable[..., Any], *args: Any) -> Any | None:
        """The value, None where there is none: `last` then says why."""
        try:
            value = fn(*args)
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
        """Why the last question had no value."""
        told = NEVER.get(self.last) or AWAY.get(self.last) or LOST.get(self.last)
        return told or f"NVML error {self.last}"

    @property
    def away(self) -> bool:
        """Did the last answer say that the driver is gone?"""
        return self.last in AWAY

    @property
    def lost(self) -> bool:
        """Did the last answer say that the device is gone?"""
        return self.last in LOST

    def open(self) -> bool:
        """Initialise the library; False when the driver does not answer."""
        self.query(pynvml.nvmlInitWithFlags, 0)
        return bool(self.last == pynvml.NVML_SUCCESS)


def opened() -> Door:
    """A door to a driver that answers and has a device. Raises CollectorUnavailable with what to
    do.
    """
    door = Door()
    if not has_driver():
        raise CollectorUnavailable(f"no NVIDIA driver here ({DRIVER_LIBRARY} is not installed)")
    if not door.open():
        raise CollectorUnavailable(f"the NVIDIA driver's library is here, but {why_not(door)}")
    if not door.query(pynvml.nvmlDeviceGetCount):
        raise CollectorUnavailable(
            "the NVIDIA driver shows no device (a container needs to be started with `--gpus`)"
        )
    return door


def why_not(door: Door) -> str:
    """Why the library could not be initialised, and what helps."""
    if door.last == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return (
            "the driver is not loaded: does `nvidia-smi` work? (a container needs to be started"
            " with `--gpus`)"
        )
    if door.last == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "it is of another version than the loaded driver: reload the driver or reboot"
    return door.reason
