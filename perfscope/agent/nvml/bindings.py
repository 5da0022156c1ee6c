"""Whether the Python bindings of the NVIDIA driver (nvidia-ml-py) can be used here. The other
modules of this package import them, so `check` comes first: an old version lacks names that are
read at import.
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
"""Of what is used, the name that came last: with `OLDEST`."""
INSTALL: Final = f"pip install --upgrade '{PACKAGE}>={OLDEST}'"
UNINSTALL: Final = "pip uninstall --yes pynvml"


class UnusableBindings(CollectorUnavailable):
    """The bindings cannot be used; `reason` says why and `fix` is the command that helps."""

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
        raise broken(error) from None
    except IMPORT_FAILURES as error:
        raise broken(error) from None
    if not hasattr(pynvml, NEWEST_NAME):
        raise unsuitable(pynvml)
    try:
        importlib.import_module(
            "perfscope.agent.nvml.watch"
        )  # and with it whatever names a binding
    except IMPORT_FAILURES as error:
        raise broken(error) from None


def unsuitable(pynvml: Any) -> UnusableBindings:
    """Return the error for a module that is not the one that is needed: an old one, or the package
    pynvml in its place.

    That package, up to version 11.5, is a folder with its own copy of old bindings; Python prefers
    it to nvidia-ml-py's file.
    """
    if hasattr(pynvml, "__path__"):
        version = text_of(getattr(pynvml, "__version__", "")) or installed("pynvml")
        return UnusableBindings(
            f"the package pynvml {version} hides {PACKAGE}", f"{UNINSTALL} && {INSTALL}"
        )
    return UnusableBindings(
        f"{PACKAGE} {installed(PACKAGE)} is too old, {OLDEST} is the oldest usable", INSTALL
    )


def broken(error: BaseException) -> UnusableBindings:
    reason = f"{type(error).__name__}: {error}".split("\n")[0]
    return UnusableBindings(f"importing {PACKAGE} fails ({reason})", f"{INSTALL} --force-reinstall")


def installed(package: str) -> str:
    """Return the version of an installed package, "of an unknown version" where that cannot be
    read.
    """
    try:
        return text_of(metadata.version(package)) or "of an unknown version"
    except metadata.PackageNotFoundError:
        return "of an unknown version"


def text_of(version: Any) -> str:
    return version if isinstance(version, str) and version.isprintable() else ""


def has_driver() -> bool:
    """Return whether the driver's library is installed."""
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return False
    return True
