"""The text that runs in the target: the probe's modules, its constants, and the agent's address."""

from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from perfscope.agent.delivery.peer_credentials import AgentAddress
from perfscope.agent.delivery.probe_code import file_of
from perfscope.agent.profiler_windows.window import Window
from perfscope.traces.run_folder.events import KINDS

PARTS = (
    "batch_padding",
    "loader",
    "optimizers",
    "backward",
    "module_calls",
    "compiled_calls",
    "graph_replays",
    "device_times",
    "device_calls",
    "checkpoints",
    "garbage_collections",
    "stacks",
    "counting_blocks",
    "nvtx",
    "web_requests",
    "generation",
    "kernels",
    "startup_shutdown",
)
NEEDED_BY_CORE = (
    "connection",
    "guard",
    "imported_modules",
    "patches",
    "process_state",
    "compilation",
    "graph_captures",
    "accelerator",
)
WINDOW_PARTS = (
    "quiesce",
    "torch_profiler_api",
    "profiler_sessions",
    "cuda_state",
    "user_profiler",
    "kernels",
)
"""Only the last is a part; it uses the others, which it finds in MODULES."""
NAMES = ("core", *NEEDED_BY_CORE, *WINDOW_PARTS[:-1], *PARTS)

START = """
from __future__ import annotations
import sys, time
from types import CodeType, ModuleType

def code_of(source):
    # The agent has compiled it where it could (entry/injected_source.py).
    if isinstance(source, CodeType):
        return source
    return compile(source[1], source[0], "exec", dont_inherit=True)

def run():
    modules = {{}}
    for name, source in SOURCES.items():
        module = modules[name] = ModuleType("<perfscope probe>." + name)
        module.MODULES = modules
        exec(code_of(source), vars(module))
        time.sleep(0.001)
    core = modules.pop("core")
    CONFIG["begun"] = globals().get("BEGUN")
    core.run(CONFIG, [module for module in modules.values() if hasattr(module, "install")])

SOURCES = {sources!r}
CONFIG = {config!r}
run()
"""


@cache
def probe_sources() -> dict[str, str]:
    """Return the probe's files as text, `core` first."""
    folder = files("perfscope.agent.probe")
    return {name: folder.joinpath(f"{name}.py").read_text("utf-8") for name in NAMES}


def bundle(agent_address: AgentAddress, window: Window | None = None, **more: Any) -> str:
    """Return the whole text for one target.

    agent_address: a socket in the target's network namespace. window: None leaves out the part that
    records windows. more: further configuration; `nvtx="injected"` if a library in the process
    records NVTX.
    """
    config = configuration(agent_address, window) | more
    sources = {name: (file_of(name), text) for name, text in sources_for(window).items()}
    return START.format(sources=sources, config=config)


def sources_for(window: Window | None) -> dict[str, str]:
    """Return the files that a probe with or without windows needs."""
    return {name: probe_sources()[name] for name in names_for(has_windows=window is not None)}


def names_for(*, has_windows: bool) -> list[str]:
    """Return the names of these files, `core` first."""
    return [name for name in NAMES if has_windows or name not in WINDOW_PARTS]


def configuration(agent_address: AgentAddress, window: Window | None) -> dict[str, Any]:
    """Return the probe's configuration: the agent's address, the record kinds, the window."""
    config: dict[str, Any] = {"kinds": KINDS, **asdict(agent_address)}
    if window is not None:
        config["window"] = {
            "steps": window.steps,
            "seconds": window.seconds,
            "stall": window.stall_s,
            "stacks": window.stacks,
        }
    return config
