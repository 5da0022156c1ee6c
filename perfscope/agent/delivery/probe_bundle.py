"""Makes the text that is run in the target: the probe's modules, its constants, and the address to
report to.
"""

from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from perfscope.agent.delivery.peers import AgentAddress
from perfscope.agent.profiler_windows.window import Window
from perfscope.traces.run.events import KINDS

PARTS = (
    "loader",
    "optimizers",
    "backward",
    "module_calls",
    "compiled_calls",
    "device_calls",
    "checkpoints",
    "garbage",
    "stacks",
    "counting_blocks",
    "nvtx",
    "kernels",
    "startup_shutdown",
)
NEEDED_BY_CORE = ("connection", "guard", "imports", "patches", "presence", "compilation")
WINDOW_PARTS = (
    "quiesce",
    "torch_profiler_api",
    "profiler_sessions",
    "cuda_state",
    "user_profiler",
    "kernels",
)
"""Only the last is a part; the others are what it is made of, and it finds them on the shelf."""
NAMES = ("core", *NEEDED_BY_CORE, *WINDOW_PARTS[:-1], *PARTS)

START = """
from __future__ import annotations
import sys, time
from types import ModuleType

def visit():
    modules = {{}}
    for name, text in SOURCES.items():
        module = modules[name] = ModuleType("<perfscope probe>." + name)
        module.MODULES = modules
        exec(compile(text, "<perfscope " + name + ">", "exec"), vars(module))
        time.sleep(0.001)
    core = modules.pop("core")
    CONFIG["begun"] = globals().get("BEGUN")
    core.run(CONFIG, [module for module in modules.values() if hasattr(module, "install")])

SOURCES = {sources!r}
CONFIG = {config!r}
visit()
"""


@cache
def sources() -> dict[str, str]:
    """The probe's files as text, `core` first."""
    folder = files("perfscope.agent.probe")
    return {name: folder.joinpath(f"{name}.py").read_text("utf-8") for name in NAMES}


def bundle(agent_address: AgentAddress, window: Window | None = None, **more: Any) -> str:
    """The whole text for one target, which calls at `agent_address`, a name in the target's network
    namespace.

    Without a `window` to take, the part that takes them stays out of the target. More that the
    probe may be told: `nvtx`, "injected" where a library in the process tells of NVTX.
    """
    config = configuration(agent_address, window) | more
    return START.format(sources=sources_for(window), config=config)


def sources_for(window: Window | None) -> dict[str, str]:
    """The files that are needed."""
    return {
        name: text
        for name, text in sources().items()
        if window is not None or name not in WINDOW_PARTS
    }


def configuration(agent_address: AgentAddress, window: Window | None) -> dict[str, Any]:
    """What the probe is told: whom to call, the vocabulary, what window to take."""
    config: dict[str, Any] = {"kinds": KINDS, **asdict(agent_address)}
    if window is not None:
        config["window"] = {
            "steps": window.steps,
            "seconds": window.seconds,
            "stall": window.stall_s,
            "stacks": window.stacks,
        }
    return config
