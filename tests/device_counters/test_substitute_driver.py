"""The calls of the agent in the substitute driver, by the names of the real binding."""

import ast
import ctypes
from pathlib import Path

import pynvml

from tests.substitute_nvml import LIBRARY, build_driver

AGENT = Path(__file__).parent.parent.parent / "perfscope" / "agent"


def test_the_agent_makes_no_call_that_the_substitute_driver_lacks(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(build_driver(tmp_path) / LIBRARY))
    called = {
        node.attr
        for file in (AGENT / "nvml").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("nvml")
        and callable(getattr(pynvml, node.attr, None))
    }
    assert len(called) > 30
    lacking = {
        name
        for name in called
        if not any(hasattr(library, name + version) for version in ("", "_v2", "_v3"))
    }
    assert not lacking
