"""The probe in our own process: the same text on a thread of its own, without an injection."""

import os
from _thread import start_new_thread
from collections.abc import Callable
from functools import cache
from types import CodeType, ModuleType
from typing import Any

from perfscope.agent.delivery.probe_bundle import configuration, names_for
from perfscope.agent.delivery.probe_code import code_of_module
from perfscope.agent.delivery.probe_socket import ProbeSocket
from perfscope.agent.profiler_windows.window import Window


def begin(
    probe_socket: ProbeSocket,
    window: Window | None,
    begun: Callable[[Any], None],
    over: Callable[[], None],
) -> None:
    """Start the probe.

    begun: called with the probe once its patches are in place. over: called when it has left, or
    could not start.
    """
    config = configuration(probe_socket.address_for(os.getpid()), window)

    def run_and_report() -> None:
        try:
            run_probe_code(config | {"begun": begun}, compiled_sources(window is not None))
        finally:
            over()

    start_new_thread(run_and_report, ())


@cache
def compiled_sources(has_windows: bool) -> dict[str, CodeType]:
    """Return the probe's files, compiled under file names by which its frames are recognized."""
    return {name: code_of_module(name) for name in names_for(has_windows=has_windows)}


def run_probe_code(config: dict[str, Any], parts: dict[str, CodeType]) -> None:
    """Run the probe as `probe_bundle.START` does in an entered process."""
    modules: dict[str, Any] = {}
    for name, code in parts.items():
        module: Any = ModuleType(f"<perfscope probe>.{name}")
        modules[name], module.MODULES = module, modules
        exec(code, vars(module))
    core = modules.pop("core")
    core.run(config, [module for module in modules.values() if hasattr(module, "install")])
