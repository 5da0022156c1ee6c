"""Makes the text that is run in the target: the probe's modules, its constants, and the address to report to."""

from functools import cache
from importlib.resources import files
from typing import Any

from perfscope.agent.window import Window
from perfscope.traces.events import KINDS

PARTS = ("loader", "training", "checkpoints", "garbage", "device", "stacks", "kernels")
WINDOW_PART = "kernels"

START = """
from __future__ import annotations
import sys, time
from types import ModuleType

def visit():
    modules = {{}}
    for name, text in SOURCES.items():
        module = modules[name] = ModuleType("<perfscope probe>." + name)
        exec(compile(text, "<perfscope " + name + ">", "exec"), vars(module))
        time.sleep(0.001)
    core = modules.pop("core")
    core.run(CONFIG, list(modules.values()))

SOURCES = {sources!r}
CONFIG = {config!r}
visit()
"""


@cache
def sources() -> dict[str, str]:
    """The probe's files as text, `core` first."""
    folder = files("perfscope.agent.probe")
    return {name: folder.joinpath(f"{name}.py").read_text("utf-8") for name in ("core", *PARTS)}


def bundle(address: str, token: str, agent_pid: int, window: Window | None = None) -> str:
    """The whole text for one target; `address` is an abstract unix socket name in the target's network namespace.

    Without a `window` to take, the part that takes them stays out of the target.
    """
    config: dict[str, Any] = {"address": address, "token": token, "agent_pid": agent_pid, "kinds": KINDS}
    parts = sources()
    if window is None:
        parts = {name: text for name, text in parts.items() if name != WINDOW_PART}
    else:
        config["window"] = {"steps": window.steps, "seconds": window.seconds, "events": window.events}
    return START.format(sources=parts, config=config)
