"""Check of the Python bindings of the NVIDIA driver (nvidia-ml-py).

The other modules of this package import the bindings, so `check` must be called first: an old
version lacks names that are used at import.
"""

import ctypes
import importlib
from importlib import metadata
from typing import Any, Final

from perfscope.errors import IMPORT_FAILURES, CollectorUnavailable

DRIVER_LIBRARY: Final = "libnvidia-ml.so.1"
PACKAGE: Final = "nvidia-ml-py"
OLDEST: Final = "12.560.30"
NEWEST_NAME: Final = "NVML_VALUE_TYPE_UNSIGNED_SHORT"
"""The newest name that perfscope uses; it came with `OLDEST`."""
INSTALL: Final = f"pip install --upgrade '{PACKAGE}>={OLDEST}'"
UNKNOWN_VERSION: Final = "of an unknown version"
UNINSTALL: Final = "pip uninstall --yes pynvml"


class UnusableBindings(CollectorUnavailable):
    """The bindings cannot be used, because of `reason`; `fix` is a command that helps."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason}; fix: {fix}")
        self.reason, self.fix = reason, fix


def check() -> None:
    """Raise UnusableBindings where the bindings are absent, too old, hidden by another package or
    broken.
    """
    try:
        pynvml = importlib.import_module("pynvml")
    except ModuleNotFoundError as error:
        if error.name == "pynvml":
            raise UnusableBindings(f"{PACKAGE} is not installed", INSTALL) from None
        raise import_error(error) from None
    except IMPORT_FAILURES as error:
        raise import_error(error) from None
    if not hasattr(pynvml, NEWEST_NAME):
        raise wrong_module_error(pynvml)
    try:
        # It imports, directly or not, every module that uses the bindings.
        importlib.import_module("perfscope.agent.nvml.pcie_throughput")
    except IMPORT_FAILURES as error:
        raise import_error(error) from None


def wrong_module_error(pynvml: Any) -> UnusableBindings:
    """Return the error for bindings that are too old, or that the package pynvml hides.

    That package, up to version 11.5, is a folder with a copy of old bindings; Python prefers it to
    the single file of nvidia-ml-py.
    """
    if hasattr(pynvml, "__path__"):
        version = printable_version(getattr(pynvml, "__version__", "")) or installed_version(
            "pynvml"
        )
        return UnusableBindings(
            f"the package pynvml {version} hides {PACKAGE}", f"{UNINSTALL} && {INSTALL}"
        )
    return UnusableBindings(
        f"{PACKAGE} {installed_version(PACKAGE)} is too old, {OLDEST} is the oldest usable", INSTALL
    )


def import_error(error: BaseException) -> UnusableBindings:
    """Return the error for bindings that cannot be imported."""
    reason = f"{type(error).__name__}: {error}".split("\n")[0]
    return UnusableBindings(f"importing {PACKAGE} fails ({reason})", f"{INSTALL} --force-reinstall")


def installed_version(package: str) -> str:
    """Return the version of an installed package, or that it is unknown."""
    try:
        return printable_version(metadata.version(package)) or UNKNOWN_VERSION
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION


def printable_version(version: Any) -> str:
    """Return a version if it is text that can be printed, else an empty text."""
    return version if isinstance(version, str) and version.isprintable() else ""


def has_driver() -> bool:
    """Return whether the driver's library is installed."""
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return False
    return True
