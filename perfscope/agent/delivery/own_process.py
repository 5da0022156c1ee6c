"""The probe in our own process: the same text on a thread of its own, without entering anything."""

import os
from _thread import start_new_thread
from collections.abc import Callable
from functools import cache
from types import CodeType, ModuleType
from typing import Any

from perfscope.agent.delivery.probe_bundle import configuration, sources_for
from perfscope.agent.delivery.probe_socket import Door
from perfscope.agent.profiler_windows.window import Window


def begin(
    door: Door, window: Window | None, begun: Callable[[Any], None], over: Callable[[], None]
) -> None:
    """Start it; `begun` is called with the probe once its patches are in place, `over` when it has
    left or never came.
    """
    config = configuration(door.address_for(os.getpid()), window)

    def visit() -> None:
        try:
            run(config | {"begun": begun}, codes(window is not None))
        finally:
            over()

    start_new_thread(visit, ())


@cache
def codes(windowed: bool) -> dict[str, CodeType]:
    """Its files, compiled under the names by which its frames are known and left out of stacks."""
    texts = sources_for(Window() if windowed else None)
    return {
        name: compile(text, f"<perfscope {name}>", "exec", dont_inherit=True)
        for name, text in texts.items()
    }


def run(config: dict[str, Any], parts: dict[str, CodeType]) -> None:
    """As the text of `probe_bundle.START` does it in a process that was entered."""
    modules: dict[str, Any] = {}
    for name, code in parts.items():
        module: Any = ModuleType(f"<perfscope probe>.{name}")
        modules[name], module.MODULES = module, modules
        exec(code, vars(module))
    core = modules.pop("core")
    core.run(config, [module for module in modules.values() if hasattr(module, "install")])
